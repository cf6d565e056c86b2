import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.seeding.agreement import IMAGES, agreeing
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from tests.builders.tokens import turned, units


def source(tokens):
    return TensorSource(tokens, torch.zeros(len(tokens), dtype=torch.int64))


def test_codes_near_their_patches_stay_worked_by_hand():
    """Images show 0 and 90 degrees: codes at 0 and 88 are near them; those at 45 and 40 lie between."""
    images = source(turned(0, 90).expand(12, 2, 4))
    codes = turned(45, 0, 40, 88)
    assert agreeing(codes, images, FeatureNorm("l2"), keep=2, batch=5).tolist() == [1, 3]
    assert agreeing(codes, images, FeatureNorm("l2"), keep=3, batch=5).tolist() == [1, 2, 3]


def test_only_the_nearest_images_count():
    """Half of the images do not show what the first code stands for; ten of them do, which is enough."""
    shown = torch.cat([turned(0).expand(IMAGES, 1, 4), turned(90).expand(10, 1, 4)])
    assert agreeing(turned(0, 80), source(shown), FeatureNorm("l2"), keep=1, batch=4).tolist() == [0]
    assert agreeing(turned(0, 80), source(shown[IMAGES - 2 :]), FeatureNorm("l2"), keep=1, batch=4).tolist() == [1]


def test_the_first_of_equals_stays_and_all_if_there_are_no_more():
    images = source(turned(0, 90).expand(3, 2, 4))
    assert agreeing(turned(0, 0, 0), images, FeatureNorm("l2"), keep=2, batch=4).tolist() == [0, 1]
    assert agreeing(turned(45, 0), images, FeatureNorm("l2"), keep=2, batch=4).tolist() == [0, 1]


@given(st.integers(1, 7), st.integers(0, 100))
def test_length_of_codes_and_batches_change_nothing(batch, seed):
    tokens = torch.randn(13, 3, 6, generator=torch.Generator().manual_seed(seed))
    codes, norm = units(5, 6, seed), FeatureNorm("l2")
    kept = agreeing(codes, source(tokens), norm, keep=3, batch=100)
    assert torch.equal(agreeing(codes * 7.5, source(tokens), norm, keep=3, batch=3 * batch), kept)
