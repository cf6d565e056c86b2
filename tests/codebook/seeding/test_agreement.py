import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.seeding.agreement import IMAGES, OTHERS, agreeing, other_images
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from tests.builders.tokens import turned, units


def source(tokens):
    return TensorSource(tokens, torch.zeros(len(tokens), dtype=torch.int64))


NONE = source(turned(0)[:0, None])
"""No image of another class."""


def test_codes_near_their_patches_stay_worked_by_hand():
    """Images show 0 and 90 degrees: codes at 0 and 88 are near them; those at 45 and 40 lie between."""
    images = source(turned(0, 90).expand(12, 2, 4))
    codes = turned(45, 0, 40, 88)
    assert agreeing(codes, images, NONE, FeatureNorm("l2"), keep=2, batch=5).tolist() == [1, 3]
    assert agreeing(codes, images, NONE, FeatureNorm("l2"), keep=3, batch=5).tolist() == [1, 2, 3]


def test_only_the_nearest_images_count():
    """Half of the images do not show what the first code stands for; ten of them do, which is enough."""
    shown = torch.cat([turned(0).expand(IMAGES, 1, 4), turned(90).expand(10, 1, 4)])
    assert agreeing(turned(0, 80), source(shown), NONE, FeatureNorm("l2"), keep=1, batch=4).tolist() == [0]
    assert agreeing(turned(0, 80), source(shown[IMAGES - 2 :]), NONE, FeatureNorm("l2"), keep=1, batch=4).tolist() == [
        1
    ]


def test_the_first_of_equals_stays_and_all_if_there_are_no_more():
    images = source(turned(0, 90).expand(3, 2, 4))
    assert agreeing(turned(0, 0, 0), images, NONE, FeatureNorm("l2"), keep=2, batch=4).tolist() == [0, 1]
    assert agreeing(turned(45, 0), images, NONE, FeatureNorm("l2"), keep=2, batch=4).tolist() == [0, 1]


def test_codes_that_other_classes_show_too_go_worked_by_hand():
    """Images show 0 and 90 degrees, those of other classes 90 alone.

    Codes at 90, 2 and 30 are near by 1, 0.999 and 0.866: ranks 0, 1, 2. Above the others they are by 0, 0.965 and
    0.366: ranks 2, 0, 1. The sums are 2, 1, 3.
    """
    images, others = source(turned(0, 90).expand(12, 2, 4)), source(turned(90).expand(5, 1, 4))
    codes = turned(90, 2, 30)
    assert agreeing(codes, images, NONE, FeatureNorm("l2"), keep=1, batch=5).tolist() == [0]
    assert agreeing(codes, images, others, FeatureNorm("l2"), keep=1, batch=5).tolist() == [1]
    assert agreeing(codes, images, others, FeatureNorm("l2"), keep=2, batch=5).tolist() == [0, 1]


def test_other_images_are_spread_evenly():
    labels = torch.arange(3).repeat_interleave(200)
    found = other_images(labels, 1)
    assert len(found) == OTHERS
    assert not bool((labels[found] == 1).any())
    assert found[[0, -1]].tolist() == [0, 599]
    assert other_images(torch.tensor([0, 1, 1, 2]), 1).tolist() == [0, 3]
    assert len(other_images(torch.tensor([1, 1]), 1)) == 0


@given(st.integers(1, 7), st.integers(0, 100))
def test_length_of_codes_and_batches_change_nothing(batch, seed):
    tokens = torch.randn(13, 3, 6, generator=torch.Generator().manual_seed(seed))
    codes, norm, others = units(5, 6, seed), FeatureNorm("l2"), source(tokens[:4].flip(2))
    kept = agreeing(codes, source(tokens), others, norm, keep=3, batch=100)
    assert torch.equal(agreeing(codes * 7.5, source(tokens), others, norm, keep=3, batch=3 * batch), kept)
