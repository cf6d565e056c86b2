import itertools
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from protoquant.codebook.config import Drawn
from protoquant.codebook.learners.kmeans import kmeans
from protoquant.codebook.matching import nearest
from protoquant.codebook.seeding.draw import drawn_codes
from protoquant.codebook.seeding.initialise import farthest, kmeans_plus_plus, random_patches
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from protoquant.core.errors import DataError

L2 = FeatureNorm("l2")


def unit_rows(n, d, seed=0):
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def fit(units, codes, *, norm=L2, metric="cosine", epochs=30, batch=10_000, update="epoch", tolerance=0.0, seed=0):
    return list(
        kmeans(
            TensorSource.of_rows(units),
            codes,
            norm,
            metric=metric,
            epochs=epochs,
            batch=batch,
            update=update,
            tolerance=tolerance,
            generator=torch.Generator().manual_seed(seed),
        )
    )


def turned(*degrees):
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def error(units, codes):
    return float((1 - nearest(units, codes, "cosine")[1]).double().mean())


def groups(n=600, k=8, d=12, noise=0.25, seed=0):
    centres = unit_rows(k, d, seed + 100)
    rows = centres[torch.arange(n) % k] + noise * unit_rows(n, d, seed)
    return torch.nn.functional.normalize(rows, dim=1)


@pytest.mark.process
def test_the_objective_is_within_a_percent_of_scikit_learn():
    units = unit_rows(800, 6)
    codes = min(
        (fit(units, kmeans_plus_plus(units, 10, torch.Generator().manual_seed(s)))[-1].codes for s in range(3)),
        key=lambda found: error(units, found),
    )
    oracle = KMeans(10, n_init=3, random_state=0).fit(units.numpy()).cluster_centers_
    oracle = torch.nn.functional.normalize(torch.from_numpy(oracle), dim=1)
    assert error(units, codes) <= 1.01 * error(units, oracle)


@pytest.mark.parametrize("update", ["epoch", "batch"])
def test_well_parted_groups_are_found(update):
    units = groups()
    codes = fit(units, kmeans_plus_plus(units, 8, torch.Generator().manual_seed(1)), update=update, batch=50)[-1].codes
    assert error(units, codes) <= 1.02 * error(
        units, torch.nn.functional.normalize(torch.stack([units[group::8].mean(dim=0) for group in range(8)]), dim=1)
    )


def start_codes(seeding, vectors, k, seed):
    generator = torch.Generator().manual_seed(seed)
    if seeding in get_args(Drawn):
        return drawn_codes(seeding, k, vectors.shape[1], generator)
    return {"random": random_patches, "kmeans++": kmeans_plus_plus, "farthest": farthest}[seeding](
        vectors, min(k, len(vectors)), generator
    )


def errors_of(passes, metric):
    if metric == "cosine":
        return [epoch.usage.health().quantization_error for epoch in passes]
    return [epoch.values["distance"] for epoch in passes]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("seeding", ["random", "kmeans++", "farthest", *get_args(Drawn)])
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_the_objective_never_rises(metric, seeding, data):
    seed, n, k = data.draw(st.tuples(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 12)))
    batch = data.draw(st.sampled_from([7, 1_000]))
    vectors = unit_rows(n, 3, seed) * (1.0 if metric == "cosine" else 4.0)
    codes = start_codes(seeding, vectors, k, seed + 1)
    if metric == "cosine":
        codes = codes[codes.any(dim=1)]
        if len(codes) == 0:  # a zero row of sparse has no direction
            return
        codes = torch.nn.functional.normalize(codes, dim=1)
    norm = FeatureNorm("none")
    errors = errors_of(fit(vectors, codes, norm=norm, metric=metric, epochs=12, batch=batch), metric)
    assert all(after <= before + 2e-6 * vectors[0].square().sum() for before, after in itertools.pairwise(errors))


def test_euclidean_codes_are_the_means_worked_by_hand():
    vectors = torch.tensor([[0.0, 2.0], [0.0, 4.0], [9.0, 0.0]])
    epoch = fit(vectors, torch.tensor([[1.0, 3.0], [8.0, 0.0]]), norm=FeatureNorm("none"), metric="euclidean", epochs=1)
    assert torch.allclose(epoch[0].codes, torch.tensor([[0.0, 3.0], [9.0, 0.0]]))
    assert epoch[0].values["distance"] == pytest.approx((2 + 2 + 1) / 3)
    cosines = [6 / (2 * 10**0.5), 12 / (4 * 10**0.5), 1.0]
    assert epoch[0].usage.health().quantization_error == pytest.approx(1 - sum(cosines) / 3, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_euclidean_passes_are_those_of_scikit_learn_from_the_same_start(seed):
    vectors = 5.0 + torch.randn(800, 6, generator=torch.Generator().manual_seed(seed))
    start = kmeans_plus_plus(vectors, 10, torch.Generator().manual_seed(seed))
    found = fit(vectors, start, norm=FeatureNorm("none"), metric="euclidean", epochs=300)[-1].codes
    oracle = KMeans(10, init=start.numpy(), n_init=1, tol=0.0, algorithm="lloyd").fit(vectors.numpy())
    assert torch.allclose(found, torch.from_numpy(oracle.cluster_centers_), atol=1e-3)


@pytest.mark.parametrize("update", ["epoch", "batch"])
def test_constant_codes_part_as_dead_ones_are_revived(update):
    units = groups()
    codes = fit(units, torch.ones(8, 12) / 12**0.5, update=update, batch=100)[-1].codes
    assert len(nearest(units, codes, "cosine")[0].unique()) == 8


def check_duplicates(seed, update):
    distinct = unit_rows(20, 4, seed)
    units = distinct.repeat_interleave(10, dim=0)
    codes = fit(units, distinct[:1].repeat(9, 1), epochs=60, update=update, batch=40, seed=seed)[-1].codes
    assert len(nearest(units, codes, "cosine")[0].unique()) == 9
    assert int((codes @ codes.T > 1 - 1e-6).sum()) == 9


@given(st.integers(0, 10_000))
def test_duplicates_lead_to_no_dead_or_equal_codes(seed):
    check_duplicates(seed, "epoch")


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_lead_to_no_dead_or_equal_codes_in_batches(seed):
    check_duplicates(seed, "batch")


def test_one_step_worked_by_hand():
    units = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    codes = torch.tensor([[0.8, 0.6], [0.0, -1.0]])
    epoch = fit(units, codes, epochs=1)[0]
    assert epoch.usage.counts.tolist() == [2, 1]
    assert epoch.usage.health().quantization_error == pytest.approx((0.2 + 0.04 + 0.0) / 3, abs=1e-6)
    assert torch.allclose(epoch.codes, torch.tensor([[1.6, 0.8], [0.0, -1.0]]) / torch.tensor([[3.2**0.5], [1.0]]))


def test_a_dead_code_takes_the_place_of_the_worst_represented_token():
    units = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.1, 1.0]])
    units = torch.nn.functional.normalize(units, dim=1)
    epoch = fit(units, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), epochs=1)[0]
    assert epoch.revived == 1
    assert torch.allclose(epoch.codes[1], units[2])


def test_a_zero_token_revives_no_code():
    units = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.6, 0.8]])
    epoch = fit(units, torch.tensor([[1.0, 0.0], [0.0, -1.0]]), epochs=1)[0]
    assert epoch.revived == 1
    assert torch.allclose(epoch.codes[1], units[2])


def test_codes_whose_tokens_cancel_stay():
    units = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    codes = torch.tensor([[0.0, 1.0]])
    assert torch.equal(fit(units, codes, epochs=1)[0].codes, codes)


def test_the_passes_stop_at_the_tolerance():
    units = groups()
    start = kmeans_plus_plus(units, 8, torch.Generator().manual_seed(1))
    few, many = fit(units, start, tolerance=0.01), fit(units, start, tolerance=0.0)
    assert len(few) <= len(many) <= 30
    before, after = (epoch.usage.health().quantization_error for epoch in few[-2:])
    assert before - after <= 0.01 * after


def test_the_tolerance_is_a_share_of_the_error():
    vectors = 3.0 + torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    passes = [
        len(fit(scale * vectors, scale * vectors[:6], norm=FeatureNorm("none"), metric="euclidean", tolerance=0.02))
        for scale in (0.125, 1.0, 128.0)
    ]
    assert passes[0] == passes[1] == passes[2] < 30


def test_the_passes_go_on_while_codes_are_revived():
    """Three codes far from all tokens: a pass moves one to the token at 80 degrees, the next one to that at 0."""
    passes = fit(turned(0, 40, 80), turned(-90, -90, -90), tolerance=1e9)
    assert [epoch.revived for epoch in passes] == [1, 1, 0]
    assert torch.allclose(passes[-1].codes, turned(40, 80, 0), atol=1e-6)


def test_a_revived_code_brings_no_weight_into_the_next_pass():
    """The dead code takes the place of the token at 90 degrees, and is then the direction of the tokens it has."""
    passes = fit(turned(0, 10, 80, 90), turned(0, -120), epochs=2, update="batch")
    assert [epoch.revived for epoch in passes] == [1, 0]
    assert torch.allclose(passes[0].codes[1], turned(90)[0], atol=1e-6)
    assert torch.allclose(passes[1].codes[1], turned(85)[0], atol=1e-6)


def test_the_batch_changes_rounding_alone_when_codes_move_once_a_pass():
    units = groups()
    start = kmeans_plus_plus(units, 8, torch.Generator().manual_seed(1))
    assert torch.allclose(fit(units, start, batch=13)[-1].codes, fit(units, start)[-1].codes, atol=1e-5)


def test_batches_move_codes_as_a_plain_loop_does():
    """What a code has learned in a pass weighs as much as one of its batches in the next."""
    vectors, start = 3.0 + torch.randn(48, 3, generator=torch.Generator().manual_seed(2)), torch.eye(3) * 3.0
    found = fit(vectors, start, norm=FeatureNorm("none"), metric="euclidean", epochs=3, batch=20, update="batch")
    assert [epoch.revived for epoch in found] == [0, 0, 0]
    codes, counts, generator = start.clone(), torch.zeros(3), torch.Generator().manual_seed(0)
    for epoch in found:
        sums, weights, counts = codes * counts[:, None] / 3, counts / 3, torch.zeros(3)
        for batch in vectors[torch.randperm(48, generator=generator)].split(20):
            for vector, code in zip(batch, torch.cdist(batch, codes).argmin(dim=1).tolist(), strict=True):
                sums[code] += vector
                weights[code] += 1
                counts[code] += 1
            codes = sums / weights[:, None]
        assert torch.allclose(epoch.codes, codes, atol=1e-4)


def test_the_seed_orders_the_batches():
    units = groups()
    start = unit_rows(8, 12, 5)
    first, again, other = (
        fit(units, start, epochs=2, batch=30, update="batch", seed=seed)[-1].codes for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_start_is_not_written_to():
    units, start = groups(), unit_rows(8, 12)
    before = start.clone()
    fit(units, start, update="batch", batch=50)
    assert torch.equal(start, before)


def test_nan_is_an_error():
    with pytest.raises(DataError, match="NaN or infinity"):
        fit(torch.full((4, 3), torch.nan), unit_rows(2, 3))
