import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.initialise import kmeans_plus_plus, random_patches, seed_codes
from protoquant.codebook.size import resolve_size
from protoquant.codebook.stream import TensorSource
from protoquant.core.errors import DataError
from protoquant.core.events import ProgressEvent, ignore

CHOOSE = [random_patches, kmeans_plus_plus]
CPU = torch.device("cpu")


def unit_rows(n, d, seed=0):
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("choose", CHOOSE)
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000), st.integers(1, 12))
def test_seeds_are_tokens_and_no_two_alike(choose, seed, k):
    units = unit_rows(12, 4).repeat(5, 1)
    codes = choose(units, k, torch.Generator().manual_seed(seed))
    cosines = codes @ units.T
    assert torch.allclose(cosines.amax(dim=1), torch.ones(k), atol=1e-5)
    assert int((codes @ codes.T > 1 - 1e-5).sum()) == k


@pytest.mark.parametrize("choose", CHOOSE)
def test_copies_fill_up_where_there_is_nothing_else(choose):
    codes = choose(unit_rows(2, 4).repeat(4, 1), 5, torch.Generator().manual_seed(0))
    assert codes.shape == (5, 4)
    assert len(torch.unique(codes, dim=0)) == 2


def test_kmeans_plus_plus_draws_in_proportion_to_the_distance():
    """From the first direction, two others at 1 - cosine 0.2 and 1.0 must come as second seed 1 : 5."""
    units = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    second = torch.zeros(3)
    first = torch.zeros(3)
    for seed in range(1_500):
        codes = kmeans_plus_plus(units, 2, torch.Generator().manual_seed(seed))
        start, other = ((units @ code).argmax().item() for code in codes)
        first[start] += 1
        if start == 0:
            second[other] += 1
    assert float(second[1] / second.sum()) == pytest.approx(1 / 6, abs=0.06)
    assert float(first.min()) > 430


def test_rejection_uses_the_distances_after_each_seed():
    """Once one of two tight groups is taken, the next seed lies in the other."""
    noise = 0.01 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    groups = torch.eye(3)[torch.arange(40) % 3]
    units = torch.nn.functional.normalize(groups + noise, dim=1)
    for seed in range(50):
        codes = kmeans_plus_plus(units, 3, torch.Generator().manual_seed(seed))
        assert sorted(codes.argmax(dim=1).tolist()) == [0, 1, 2]


def source(n=12, t=4, d=6):
    tokens = torch.randn(n, t, d, generator=torch.Generator().manual_seed(3))
    return TensorSource(tokens, torch.arange(n) % 3)


def seeds(tokens, events=ignore, **values):
    config = QuantizeConfig.parse({"epochs": 1, **values})
    size = resolve_size(config, tokens.labels, tokens.t)
    return seed_codes(config, tokens, FeatureNorm("l2"), size, device=CPU, seed=0, on_event=events)


@pytest.mark.parametrize("seeding", ["random", "kmeans++"])
def test_unsupervised_seeds_are_train_patches(seeding):
    made = seeds(source(), seeding=seeding, size=5, size_unit="codebook")
    units = FeatureNorm("l2").apply(source().values).reshape(-1, 6)
    assert made.codes.shape == (5, 6)
    assert made.history == ()
    assert torch.allclose((made.codes @ units.T).amax(dim=1), torch.ones(5), atol=1e-5)


def test_class_aware_codes_come_from_the_tokens_of_their_class():
    axes = torch.eye(6)[torch.tensor([[0, 1], [2, 3], [4, 5]])]
    tokens = TensorSource(axes.repeat(4, 1, 1), torch.arange(12) % 3)
    heard = []
    made = seeds(tokens, heard.append, seeding="class_aware", size=2)
    assert [sorted(pair) for pair in made.codes.argmax(dim=1).reshape(3, 2).tolist()] == [[0, 1], [2, 3], [4, 5]]
    assert made.history[-1].quantization_error == pytest.approx(0, abs=1e-6)
    assert made.history[-1].tokens == 24
    assert heard[-1] == ProgressEvent("seeding", 3, 3, "classes")


def test_the_error_of_the_history_never_rises():
    errors = [health.quantization_error for health in seeds(source(60, 8), seeding="class_aware", size=4).history]
    assert len(errors) > 2
    assert all(after <= before + 1e-7 for before, after in zip(errors, errors[1:], strict=False))


@pytest.mark.parametrize("seeding", ["random", "kmeans++", "class_aware"])
def test_zero_tokens_never_become_codes(seeding):
    tokens = source()
    tokens.values[:, 1:] = 0
    codes = seeds(tokens, seeding=seeding, size=3, size_unit="codebook").codes
    assert torch.allclose(torch.linalg.vector_norm(codes, dim=1), torch.ones(3))
    with pytest.raises(DataError, match=r"need 15 tokens that are not zero, found 12|need 5 .*found 4"):
        seeds(tokens, seeding=seeding, size=15, size_unit="codebook")
