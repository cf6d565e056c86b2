import pytest
import torch
from vector_quantize_pytorch import VectorQuantize

from protoquant.codebook.learners.config import EmaConfig
from protoquant.codebook.learners.ema import EmaState, ema
from protoquant.codebook.matching import nearest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource

NONE = FeatureNorm("none")
STILL = {"revive_every": 0, "revive_until": None}
METRICS = ["cosine", "euclidean"]


def rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def fit(tokens, codes, *, metric, epochs=3, batch=20, seed=0, **values):
    return list(
        ema(
            TensorSource.of_rows(tokens),
            codes,
            NONE,
            EmaConfig.parse(STILL | values),
            metric=metric,
            epochs=epochs,
            batch=batch,
            generator=torch.Generator().manual_seed(seed),
        )
    )


def sums_of(tokens, codes, metric):
    indices = nearest(tokens, codes, metric)[0]
    counts = torch.bincount(indices, minlength=len(codes)).to(tokens)
    return counts, torch.zeros_like(codes).index_add_(0, indices, tokens)


def test_one_step_worked_by_hand():
    """Two codes at (1, 0) and (0, 1), three tokens for the first and none for the second."""
    state = EmaState.start(torch.eye(2, dtype=torch.float64), "euclidean")
    counts = torch.tensor([3.0, 0.0], dtype=torch.float64)
    sums = torch.tensor([[6.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    found = state.step(counts, sums, decay=0.75, epsilon=0.1, metric="euclidean")
    assert found.counts.tolist() == pytest.approx([1.5, 0.75])
    assert found.sums.flatten().tolist() == pytest.approx([2.25, 0.25, 0.0, 0.75])
    smoothed = [(1.5 + 0.1) / (2.25 + 0.2) * 2.25, (0.75 + 0.1) / (2.25 + 0.2) * 2.25]
    expected = [2.25 / smoothed[0], 0.25 / smoothed[0], 0.0, 0.75 / smoothed[1]]
    assert found.codes.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS)
def test_the_codes_are_those_of_vector_quantize_pytorch(metric):
    """Started alike, both see the same batches; codes, counts and choices agree after each of them."""
    tokens, start = rows(600, 8) * 2 + 0.3, rows(12, 8, 1)
    start = torch.nn.functional.normalize(start, dim=1) if metric == "cosine" else start
    oracle = VectorQuantize(
        dim=8,
        codebook_size=12,
        decay=0.9,
        eps=1e-5,
        kmeans_init=False,
        threshold_ema_dead_code=0,
        use_cosine_sim=metric == "cosine",
        commitment_weight=0.0,
    ).train()
    book = oracle._codebook
    book.embed.copy_(start[None])
    book.embed_avg.copy_(start[None])
    state = EmaState.start(start, metric)
    for batch in tokens.split(60):
        vectors = FeatureNorm("l2").units(batch) if metric == "cosine" else batch
        ours = nearest(vectors, state.codes, metric)[0]
        _, theirs, _ = oracle(batch[None])
        assert torch.equal(ours, theirs[0])
        state = state.step(*sums_of(vectors, state.codes, metric), decay=0.9, epsilon=1e-5, metric=metric)
        assert torch.allclose(state.codes, book.embed[0], atol=1e-5)
        assert torch.allclose(state.counts, book.cluster_size[0], atol=1e-4)
    assert not torch.allclose(state.codes, start, atol=0.1)


@pytest.mark.parametrize("metric", METRICS)
def test_the_learner_takes_one_step_a_batch(metric):
    tokens, codes = rows(50, 4), rows(6, 4, 1)
    generator = torch.Generator().manual_seed(0)
    state = EmaState.start(codes, metric)
    for _ in range(3):
        for batch in tokens[torch.randperm(50, generator=generator)].split(20):
            vectors = FeatureNorm("l2").units(batch) if metric == "cosine" else batch
            state = state.step(*sums_of(vectors, state.codes, metric), decay=0.8, epsilon=1e-5, metric=metric)
    assert torch.equal(fit(tokens, codes, metric=metric)[-1].codes, state.codes)


@pytest.mark.parametrize("metric", METRICS)
def test_the_error_falls_and_cosine_codes_keep_norm_one(metric):
    epochs = fit(rows(400, 5), rows(10, 5, 1), metric=metric, epochs=8)
    errors = [epoch.usage.health().quantization_error for epoch in epochs]
    assert errors[-1] < 0.9 * errors[0]
    norms = epochs[-1].codes.norm(dim=1)
    assert torch.allclose(norms, torch.ones(10), atol=1e-5) == (metric == "cosine")


@pytest.mark.parametrize("metric", METRICS)
def test_dead_codes_are_revived_until_the_last_epochs(metric):
    tokens = rows(100, 3).abs() + 0.1
    codes = torch.cat([rows(2, 3, 1).abs(), -50.0 * torch.ones(3, 3)])
    epochs = fit(tokens, codes, metric=metric, epochs=5, revive_every=1, revive_until=0.8)
    assert [epoch.revived for epoch in epochs[:2]] == [2, 1]  # two codes had one worst token each to give
    assert epochs[4].revived == 0
    assert epochs[-1].usage.health().dead_share == 0.0
    assert fit(tokens, codes, metric=metric, epochs=5)[-1].usage.health().dead_share == pytest.approx(0.6)


def test_a_revived_code_begins_again_as_the_mean_of_one_token():
    state = EmaState(torch.eye(2), torch.tensor([3.0, 0.01]), torch.tensor([[3.0, 0.0], [0.0, 0.01]]))
    moved = state.moved(torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([1]))
    assert moved.counts.tolist() == [3.0, 1.0]
    assert torch.equal(moved.sums, torch.tensor([[3.0, 0.0], [0.6, 0.8]]))
    assert torch.equal(moved.codes, moved.sums / moved.counts[:, None])
    assert state.counts.tolist() == pytest.approx([3.0, 0.01])


def test_a_code_whose_mean_fades_to_nothing_stays_where_it_was():
    codes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    state = EmaState.start(codes, "cosine")
    for _ in range(3):
        state = state.step(
            torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]), decay=0.0, epsilon=1e-5, metric="cosine"
        )
    assert torch.equal(state.codes, codes)


def test_a_run_goes_on_from_its_tensors():
    tokens, state = rows(40, 4), EmaState.start(rows(6, 4, 1), "euclidean")
    steps = {"decay": 0.8, "epsilon": 1e-5, "metric": "euclidean"}
    state = state.step(*sums_of(tokens[:20], state.codes, "euclidean"), **steps)
    again = EmaState(**{name: tensor.clone() for name, tensor in state.tensors().items()})
    for each in (state, again):
        assert torch.equal(
            each.step(*sums_of(tokens[20:], each.codes, "euclidean"), **steps).codes,
            state.step(*sums_of(tokens[20:], state.codes, "euclidean"), **steps).codes,
        )


def test_the_seed_decides_and_the_start_is_not_written_to():
    tokens, codes = rows(50, 4), rows(6, 4, 1)
    one, again, other = (fit(tokens, codes, metric="cosine", seed=seed)[-1].codes for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(codes, rows(6, 4, 1))
