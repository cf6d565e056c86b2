import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.evaluation.metrics.consistency import (
    Looks,
    class_pairs,
    consistency,
    first_maximum,
    noise_of,
    stability,
)


def looks(pair: list[int], hits: list[list[int]], visible: list[list[int]], shaken: list[list[int]], q: int) -> Looks:
    held = (np.array(part, dtype=bool).reshape(len(pair), 2) for part in (hits, visible, shaken))
    return Looks(np.array(pair, dtype=int), *held, random=np.zeros((len(pair), 2), dtype=bool), q=q)


def test_pairs_are_the_largest_weights_of_each_class() -> None:
    head = np.array([[1.0, 3.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.25]])
    pairs = class_pairs(head, 2)
    assert list(zip(pairs.label, pairs.code, strict=True)) == [(0, 1), (0, 3), (2, 2), (2, 3)]
    assert len(class_pairs(head)) == 5
    assert pairs.of(2).tolist() == [2, 3]
    assert len(pairs.of(1)) == 0


def test_consistency_by_hand() -> None:
    # Pair 0: the first part is hit in 4 of 5 images; pair 1: the second in 1 of 2; pair 2 has no image.
    found = looks(
        [0, 0, 0, 0, 0, 1, 1],
        [[1, 0], [1, 1], [1, 0], [1, 0], [0, 0], [0, 1], [0, 0]],
        [[1, 1], [1, 1], [1, 1], [1, 1], [1, 0], [0, 1], [0, 1]],
        [[0, 0]] * 7,
        q=3,
    )
    share, part = consistency(found, found.hits)
    assert share[:2].tolist() == [0.8, 0.5]
    assert np.isnan(share[2])
    assert part.tolist() == [0, 1, -1]
    assert found.images.tolist() == [5, 2, 0]


def test_a_pair_whose_images_show_no_part_is_not_consistent() -> None:
    found = looks([0, 0], [[1, 1], [1, 1]], [[0, 0], [0, 0]], [[0, 0]] * 2, q=1)
    assert consistency(found, found.hits)[0].tolist() == [0.0]


def test_stability_asks_for_all_parts_to_stay() -> None:
    found = looks(
        [0, 0, 0, 0, 2],
        [[1, 0], [0, 0], [1, 1], [1, 0], [0, 0]],
        [[1, 1]] * 5,
        [[1, 0], [0, 0], [1, 0], [0, 1], [0, 0]],
        q=3,
    )
    stable = stability(found)
    assert stable[[0, 2]].tolist() == [0.5, 1.0]
    assert np.isnan(stable[1])


def test_the_maximum_of_an_enlarged_map_lies_in_the_middle_of_its_cell() -> None:
    maps = np.zeros((2, 7, 7))
    maps[0, 2, 5] = maps[1, 6, 0] = 1.0
    rows, cols = first_maximum(maps, (224, 224)).T
    # Half-pixel centres: the cell's middle lies between two pixels.
    assert rows[0] - 2 * 32 in {15, 16}
    assert cols[0] - 5 * 32 in {15, 16}
    # At the edge the map is continued, so that the maximum is a whole band of pixels or lies near the edge.
    assert rows[1] >= 6 * 32 + 15
    assert cols[1] <= 16


def test_a_view_and_a_grid_may_be_oblong() -> None:
    maps = np.zeros((1, 2, 3))
    maps[0, 1, 1] = 1.0
    row, col = first_maximum(maps, (20, 60))[0]
    assert row >= 14
    assert 25 <= col <= 34


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 9))
def test_the_enlargement_is_that_of_torch(seed: int, h: int, w: int) -> None:
    maps = torch.from_numpy(np.random.default_rng(seed).random((3, 1, h, w)))
    large = torch.nn.functional.interpolate(maps, size=(40, 60), mode="bicubic", align_corners=False)
    expected = np.divmod(large.flatten(1).argmax(dim=1).numpy(), 60)
    assert first_maximum(maps[:, 0].numpy(), (40, 60)).tolist() == np.stack(expected, axis=1).tolist()


def test_noise_is_cut_and_its_own_for_each_stream() -> None:
    noise = noise_of((3, 40, 40), np.random.default_rng(0))
    assert float(noise.abs().max()) == 0.25
    assert float((noise.abs() == 0.25).float().mean()) == pytest.approx(0.211, abs=0.02)  # beyond 1.25 deviations
    assert not torch.equal(noise, noise_of((3, 40, 40), np.random.default_rng(1)))
