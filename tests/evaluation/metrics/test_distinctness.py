import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from protoquant.evaluation.metrics.distinctness import alike_pairs, nearest_other, shared_patches
from protoquant.evaluation.places.patches import Patches
from tests.builders.tokens import turned, units


def test_near_duplicates_by_hand() -> None:
    codes = turned(0, 20, 90, 200).numpy()  # cosine of 20 degrees: 0.94
    assert nearest_other(codes).tolist() == pytest.approx(np.cos(np.deg2rad([20, 20, 70, 110])).tolist())
    assert alike_pairs(codes) == 1
    assert alike_pairs(codes, above=-2.0) == 6


def test_many_codes_agree_with_scikit_learn() -> None:
    codes = units(1500, 8).numpy()  # more than are compared at once
    cosines = cosine_similarity(codes.astype(np.float64))
    np.fill_diagonal(cosines, -1.0)
    assert nearest_other(codes) == pytest.approx(cosines.max(axis=1), abs=1e-6)
    assert alike_pairs(codes, 0.8) == int((np.triu(cosines, 1) > 0.8).sum())


def test_a_single_prototype_has_no_other() -> None:
    assert np.isnan(nearest_other(turned(10).numpy())).all()
    assert alike_pairs(turned(10).numpy()) == 0
    assert np.isnan(shared_patches(Patches(np.zeros(1, int), np.zeros(1, int), np.zeros(1, int), 1), 4)).all()
    assert len(nearest_other(np.zeros((0, 4)))) == 0


def test_shared_patches_by_hand() -> None:
    # Prototypes 0 and 1 share two of four patches; 2 has the image of one of them, but another cell; 3 has none.
    owner, image, cell = np.array([(0, 1, 0), (0, 2, 3), (0, 3, 0), (1, 1, 0), (1, 2, 3), (1, 4, 1), (2, 1, 2)]).T
    shared = shared_patches(Patches(owner, image, cell, 4), 4)
    assert shared[:3].tolist() == [0.5, 0.5, 0.0]
    assert np.isnan(shared[3])
