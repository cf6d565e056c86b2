import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.mixture import LEAST, Mixture, mixed, with_mixtures
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from tests.builders.tokens import clustered, turned, units

NORM = FeatureNorm("l2")


def made(codes, tokens, labels=None, classes=None, **values):
    source = TensorSource(tokens, torch.zeros(len(tokens), dtype=torch.int64) if labels is None else labels)
    settings = {"patches": 2, "temperature": 0.2, "batch": 3, **values}
    return with_mixtures(Codebook(codes, NORM, classes), source, **settings)


def test_a_mixture_worked_by_hand():
    """Three images show 10, 30 and 90 degrees; the two nearest to a code at 0 are mixed by e^(cos / 0.5)."""
    found = made(turned(0), 2.5 * turned(10, 30, 90)[:, None], temperature=0.5)
    assert found.mixture.images.tolist() == [[0, 1]]
    assert found.mixture.cells.tolist() == [[0, 0]]
    first, second = (math.exp(math.cos(math.radians(angle)) / 0.5) for angle in (10, 30))
    share = first / (first + second)
    assert found.mixture.weights[0].tolist() == pytest.approx([share, 1 - share], abs=1e-6)
    mean = share * turned(10) + (1 - share) * turned(30)
    torch.testing.assert_close(found.codes, torch.nn.functional.normalize(mean, dim=1))


def test_patches_come_from_different_images_of_the_class():
    tokens, labels = clustered(24, 1)
    tokens = tokens.float()
    classes = (0, 0, 1, 1, 2, 2)
    found = made(units(6, 16, 3), tokens, labels, classes, patches=4)
    for images, label in zip(found.mixture.images, found.class_of_code, strict=True):
        assert len(set(images.tolist())) == 4
        assert set(labels[images].tolist()) == {label}


def test_a_class_with_fewer_images_gives_fewer_patches():
    tokens = turned(0, 10, 20, 90)[:, None]
    found = made(turned(4, 80), tokens, torch.tensor([0, 0, 0, 1]), (0, 1), patches=3)
    assert found.mixture.images.tolist() == [[0, 1, 2], [3, -1, -1]]
    assert found.mixture.weights[1].tolist() == [1.0, 0.0, 0.0]
    torch.testing.assert_close(found.codes[1], turned(90)[0])
    assert bool(found.codes.isfinite().all())


def test_one_patch_is_the_nearest_one_and_no_two_codes_are_the_same():
    tokens = turned(0, 40, 90)[:, None]
    found = made(turned(3, 4, 85), tokens, patches=1)
    assert found.mixture.images.tolist() == [[0], [2]]
    torch.testing.assert_close(found.codes, turned(0, 90))


def test_a_zero_token_is_no_patch():
    tokens = torch.stack([turned(0), turned(170), torch.zeros(1, 4)])
    found = made(turned(0), tokens, patches=3)
    assert found.mixture.images.tolist() == [[0, -1, 1]]  # cosines 1, 0 and below 0
    assert found.mixture.weights[0, 1] == 0.0


def test_small_weights_go_and_the_others_sum_to_one():
    mixture = Mixture(torch.zeros(2, 3).long(), torch.zeros(2, 3).long(), torch.ones(2, 3) / 3, torch.zeros(2, 3, 4))
    weights = torch.tensor([[0.6, 0.4 - LEAST / 2, LEAST / 2], [LEAST / 3] * 3])
    found = mixture.weighted(weights).weights
    assert found[0].tolist() == pytest.approx([0.6 / (1 - LEAST / 2), (0.4 - LEAST / 2) / (1 - LEAST / 2), 0.0])
    assert found[1].tolist() == pytest.approx([1 / 3] * 3)  # the largest always stay


def test_other_weights_give_other_codes_and_have_a_slope():
    found = made(turned(0), turned(10, 30, 90)[:, None])
    weights = torch.tensor([[0.5, 0.5]], requires_grad=True)
    code = found.mixture.codes(weights)
    torch.testing.assert_close(code.detach(), turned(20))
    code[0, 1].backward()
    assert float(weights.grad[0, 1]) > 0 > float(weights.grad[0, 0])  # more of the patch at 30 degrees turns it there


@given(st.integers(0, 50), st.integers(1, 4), st.integers(1, 9))
def test_codes_are_unit_vectors_in_the_cone_of_their_patches(seed, patches, batch):
    tokens, labels = clustered(12, seed)
    found = made(units(5, 16, seed), tokens.float(), labels, (0, 0, 1, 2, 2), patches=patches, batch=batch)
    mixture = found.mixture
    torch.testing.assert_close(found.codes.norm(dim=1), torch.ones(found.k))
    torch.testing.assert_close(mixture.weights.sum(dim=1), torch.ones(found.k))
    torch.testing.assert_close(mixed(mixture.weights, mixture.units), found.codes)
    torch.testing.assert_close(NORM.units(tokens.float())[mixture.images, mixture.cells], mixture.units)


def test_a_codebook_takes_its_mixtures_along():
    tokens, labels = clustered(12, 0)
    found = made(units(4, 16, 0), tokens.float(), labels, (0, 1, 1, 2))
    part = found.only(torch.tensor([3, 1])).to(torch.device("cpu"))
    torch.testing.assert_close(mixed(part.mixture.weights, part.mixture.units), part.codes)
    assert part.mixture.images.tolist() == found.mixture.images[[3, 1]].tolist()
    assert found.tensors().keys() == {"codes"}
