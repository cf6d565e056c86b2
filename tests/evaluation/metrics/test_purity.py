import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.evaluation.metrics.purity import holding, measured_prototypes, purity
from protoquant.evaluation.places.patches import Patches, sure_patches, top_patches
from protoquant.evaluation.places.placed_parts import PlacedParts


def one_prototype(rows: list[tuple[int, ...]], names: tuple[str, ...]) -> tuple[Patches, PlacedParts]:
    """One patch in each image; a row holds 1 for a hit, 0 for a visible part that is missed, -1 for one not visible."""
    given = np.array(rows)
    n = len(given)
    placed = PlacedParts(names, (given == 1)[:, None], given >= 0)
    return Patches(np.zeros(n, dtype=int), np.arange(n), np.zeros(n, dtype=int), 1), placed


def test_left_and_right_by_hand() -> None:
    # beak, left eye, right eye: only the left eye visible and hit; both visible, the left hit; both visible, none hit.
    patches, placed = one_prototype([(0, 1, -1), (1, 1, 0), (0, 0, 0)], ("beak", "left eye", "right eye"))
    found = purity(patches, placed.merged({"left eye": "right eye"}))
    assert found.purity.tolist() == [pytest.approx(2 / 3)]
    assert (found.part[0], found.n[0], found.hits[0], found.most[0]) == (1, 3, 2, pytest.approx(2 / 3))
    apart = purity(patches, placed)
    assert (apart.part[0], apart.purity[0]) == (1, pytest.approx(2 / 3))  # the left eye alone


def test_a_part_visible_once_is_pure_until_a_minimum_count_is_asked() -> None:
    patches, placed = one_prototype([(1, 1), (1, -1), (1, -1), (0, -1), (0, -1)], ("beak", "eye"))
    found = purity(patches, placed)
    assert (found.purity[0], found.part[0], found.n[0], found.hits[0]) == (1.0, 1, 1, 1)
    assert found.most.tolist() == [0.6]
    least = purity(patches, placed, least=5)
    assert (least.purity[0], least.part[0], least.n[0], least.hits[0]) == (0.6, 0, 5, 3)


def test_equal_shares_go_to_the_part_with_more_hits_then_to_the_first() -> None:
    patches, placed = one_prototype([(1, 1, 1), (0, 0, 0), (-1, 1, 1), (-1, 0, 0)], ("a", "b", "c"))
    found = purity(patches, placed)
    assert (found.purity[0], found.part[0], found.hits[0]) == (0.5, 1, 2)


def test_prototypes_without_a_visible_part_or_without_patches_have_no_purity() -> None:
    visible = np.array([[True], [False]])
    placed = PlacedParts(("beak",), np.ones((2, 1, 1), dtype=bool), visible)
    patches = Patches(np.array([0, 1]), np.array([0, 1]), np.array([0, 0]), 3)
    found = purity(patches, placed)
    assert found.purity.tolist()[0] == 1.0
    assert np.isnan(found.purity[1:]).all()
    assert np.isnan(found.most[1:]).all()
    assert found.part.tolist() == [0, -1, -1]
    assert (found.known.tolist(), found.std, found.related) == ([1.0], 0.0, 1)


def test_visible_parts_that_are_never_hit_give_zero() -> None:
    patches, placed = one_prototype([(0, -1), (0, -1)], ("beak", "eye"))
    found = purity(patches, placed)
    assert (found.purity[0], found.part[0], found.n[0], found.most[0], found.related) == (0.0, 0, 2, 0.0, 0)


def test_nothing_is_measured_without_images() -> None:
    placed = PlacedParts(("beak",), np.zeros((0, 4, 1), dtype=bool), np.zeros((0, 1), dtype=bool))
    found = purity(top_patches(np.zeros((0, 2)), np.zeros((0, 2), dtype=int)), placed)
    assert (len(found.known), found.std, found.related) == (0, None, 0)
    assert len(purity(top_patches(np.zeros((0, 0)), np.zeros((0, 0), dtype=int)), placed).purity) == 0


def test_masks_also_say_how_much_of_the_box_the_part_fills() -> None:
    shares = np.array([[[0.5, 0.1]], [[0.01, 0.1]], [[0.3, 0.0]]], dtype=np.float32)
    visible = np.array([[True, True], [True, True], [True, False]])
    patches = Patches(np.zeros(3, dtype=int), np.arange(3), np.zeros(3, dtype=int), 1)
    found = purity(patches, PlacedParts(("beak", "eye"), (shares >= 0.02) & visible[:, None], visible, shares))
    assert (found.part[0], found.purity[0]) == (1, 1.0)
    assert found.filled.tolist() == [pytest.approx(0.1)]  # where the eye is visible
    assert purity(patches, PlacedParts(("beak", "eye"), shares > 0.02, visible, shares), least=3).filled.tolist() == [
        pytest.approx(0.27)
    ]


def test_holding_counts_any_part() -> None:
    patches, placed = one_prototype([(1, 0), (0, 1), (0, -1), (-1, -1)], ("beak", "eye"))
    assert holding(patches, placed).tolist() == [0.5]


def test_prototypes_of_tiny_weights_are_not_measured() -> None:
    assert measured_prototypes(np.array([[0.0, 1e-5, 2e-5, 0.0], [3.0, 0.0, 0.0, 0.0]])).tolist() == [0, 2]


def slowly(patches: Patches, placed: PlacedParts, least: int) -> list[tuple[float, int]]:
    """Purity and hits of each prototype, one part of one patch at a time."""
    found = []
    for prototype in range(patches.p):
        best = (-1.0, 0)
        for part in range(len(placed.names)):
            own = [
                bool(placed.hits[image, cell, part])
                for owner, image, cell in zip(patches.owner, patches.image, patches.cell, strict=True)
                if owner == prototype and placed.visible[image, part]
            ]
            if len(own) >= least:
                best = max(best, (sum(own) / len(own), sum(own)))
        found.append(best)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_all_at_once_is_one_at_a_time(seed: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    n, t, m, p = 12, 5, 3, 4
    visible = rng.random((n, m)) < 0.6
    placed = PlacedParts(tuple("abc"), (rng.random((n, t, m)) < 0.4) & visible[:, None], visible)
    scores, cells = rng.random((n, p)), rng.integers(t, size=(n, p))
    for patches in (top_patches(scores, cells, 6), sure_patches(scores, cells)):
        found, expected = purity(patches, placed, least), slowly(patches, placed, least)
        assert np.nan_to_num(found.purity, nan=-1.0).tolist() == [share for share, _ in expected]
        assert found.hits.tolist() == [hits for _, hits in expected]
