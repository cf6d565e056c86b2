import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.grounding import NearestPatches, ground
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource, token_batches
from protoquant.core.errors import DataError

L2 = FeatureNorm("l2")


def unit_rows(n, d, seed=0):
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def grounded(tokens, codes, batch=6):
    source = TensorSource(tokens, torch.zeros(len(tokens), dtype=torch.int64))
    patches = NearestPatches(codes)
    for part in token_batches(source, batch):
        units = L2.units(part)
        patches.add(units, units @ codes.T)
    return ground(source, L2, codes, patches, batch)


def images(units, t):
    return (7 * units).reshape(-1, t, units.shape[1])


def test_far_codes_get_their_nearest_patches():
    units = unit_rows(60, 5)
    codes = torch.nn.functional.normalize(units[[3, 17, 42]] + 0.01, dim=1)
    found = grounded(images(units, 4), codes)
    assert (found.images * 4 + found.cells).tolist() == (codes @ units.T).argmax(dim=1).tolist() == [3, 17, 42]
    assert torch.allclose(found.cosines, (codes @ units.T).amax(dim=1), atol=1e-6)
    assert torch.allclose(found.units, units[[3, 17, 42]], atol=1e-6)


def test_of_two_codes_with_one_nearest_patch_the_nearer_gets_it():
    units = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.8], [-1.0, 0.1]]), dim=1)
    codes = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.05]]), dim=1)
    found = grounded(images(units, 2), codes)
    assert (found.images * 2 + found.cells).tolist() == [2, 0]
    assert float(found.cosines[0]) == pytest.approx(float(codes[0] @ units[2]))


def test_a_copy_of_a_patch_in_another_image_is_not_another_patch():
    units = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.9]]), dim=1)
    found = grounded(images(units, 2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert sorted((found.images * 2 + found.cells).tolist()) in ([0, 3], [2, 3])


@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([4, 20, 1_000]))
def test_every_code_gets_a_patch_of_its_own(seed, k, batch):
    """Codes in one narrow bundle all want the same patches, far more than the 16 that one pass keeps."""
    units = unit_rows(60, 4, seed)
    codes = torch.nn.functional.normalize(unit_rows(1, 4, seed) + 0.01 * unit_rows(k, 4, seed + 1), dim=1)
    found = grounded(images(units, 4), codes, batch)
    patches = found.images * 4 + found.cells
    assert len(patches.unique()) == k
    assert torch.allclose(found.units, units[patches], atol=1e-6)
    assert torch.allclose(found.cosines, (codes * units[patches]).sum(dim=1), atol=1e-5)


def test_zero_tokens_are_nobodys_patch():
    tokens = torch.zeros(2, 2, 2)
    tokens[1, 1] = torch.tensor([-1.0, -1.0])
    found = grounded(tokens, torch.tensor([[1.0, 0.0]]))
    assert (found.images.tolist(), found.cells.tolist()) == ([1], [1])


def test_too_few_different_patches_are_an_error():
    tokens = unit_rows(3, 4).repeat(4, 1).reshape(6, 2, 4)
    with pytest.raises(DataError, match=r"5 codes need 5 different train patches, found 3; lower quantize\.size"):
        grounded(tokens, unit_rows(5, 4, 1))
