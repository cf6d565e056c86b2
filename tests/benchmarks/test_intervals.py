import numpy as np
import pytest

from benchmarks.intervals import interval, of_images


def test_an_image_that_seeds_share_counts_once_with_its_mean():
    found = of_images([np.array([1, 0, 1]), np.array([1, 1, 0]), np.array([0, 0])], ["a", "a", "b"])
    assert found.tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]


def test_repeating_the_same_images_does_not_narrow_the_interval():
    right = (np.arange(200) % 4 > 0).astype(float)
    once = interval(of_images([right], ["a"]))
    assert interval(of_images([right] * 3, ["a"] * 3)) == once
    low, high = interval(of_images([right] * 3, ["a", "b", "c"]))
    assert high - low < 0.75 * (once[1] - once[0])


def test_interval_is_about_that_of_the_normal_distribution():
    right = (np.arange(1000) % 10 > 0).astype(float)
    low, high = interval(right)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(0.9 * 0.1 / 1000), rel=0.1)
    assert low < 0.9 < high


def test_equal_values_have_no_width():
    assert interval(np.ones(7)) == (1.0, 1.0)


def test_images_of_one_name_must_be_as_many():
    with pytest.raises(ValueError, match=r"shape|broadcast"):
        of_images([np.ones(3), np.ones(2)], ["a", "a"])
