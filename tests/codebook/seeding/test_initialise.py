import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.seeding.initialise import farthest, kmeans_plus_plus, random_patches, with_direction
from protoquant.core.errors import DataError

CHOOSE = [random_patches, kmeans_plus_plus, farthest]


def unit_rows(n, d, seed=0):
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("choose", CHOOSE)
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


def test_zero_tokens_are_left_out_and_too_few_others_are_an_error():
    units = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    assert with_direction(units, 2).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(DataError, match="3 codes need 3 tokens that are not zero, found 2"):
        with_direction(units, 3)


@given(st.integers(0, 1_000), st.integers(1, 60))
def test_farthest_equals_the_greedy_choice_one_by_one(seed, k):
    vectors = 3.0 * torch.randn(60, 5, generator=torch.Generator().manual_seed(seed))
    found = farthest(vectors, k, torch.Generator().manual_seed(seed))
    distances = torch.cdist(vectors.double(), vectors.double()).square()
    taken = [int((vectors == found[0]).all(dim=1).nonzero())]
    while len(taken) < k:
        taken.append(int(distances[:, taken].amin(dim=1).argmax()))
    assert torch.equal(found, vectors[taken])


def test_farthest_goes_to_both_ends_worked_by_hand():
    line = torch.tensor([[1.0], [4.0], [5.0], [11.0]])
    ends = {1.0: [1, 11, 5], 4.0: [4, 11, 1], 5.0: [5, 11, 1], 11.0: [11, 1, 5]}
    for seed in range(8):
        found = farthest(line, 3, torch.Generator().manual_seed(seed)).flatten().tolist()
        assert found == ends[found[0]]


def test_kmeans_plus_plus_knows_places_beside_directions():
    line = torch.tensor([[1.0], [2.0], [100.0]])
    for seed in range(20):
        found = kmeans_plus_plus(line, 2, torch.Generator().manual_seed(seed)).flatten().tolist()
        assert 100.0 in found
