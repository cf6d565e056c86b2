import numpy as np

from protoquant.doctor.inspections.split_drift import LEAST_DIFFERENCE, split_drift
from tests.builders.photos import photo, thumb_of


def some(split: str, count: int, **of):
    """Photos of a split; what depends on their number is given by functions of it."""
    thumb = of.pop("thumb", lambda n: thumb_of(len(split) * 1000 + n))
    return [
        photo(f"{split}/{n}", split=split, hash=n, thumb=thumb(n), **{key: value(n) for key, value in of.items()})
        for n in range(count)
    ]


def test_splits_alike_are_no_finding():
    assert split_drift(some("train", 60), {"validation": some("validation", 30), "test": some("test", 30)}) == []


def test_a_darker_split_is_found_with_both_medians():
    dark = some("test", 30, thumb=lambda n: thumb_of(n) // 3)
    found = split_drift(some("train", 60), {"test": dark})
    (brightness,) = [one for one in found if "brightness" in one.sentence]
    assert brightness.sentence.startswith("train and test differ in brightness: median 1")
    assert brightness.number > 0.8
    assert {image.split for image in brightness.images} == {"train", "test"}


def test_another_size_and_format_are_found():
    other = some("test", 30, width=lambda n: 600 + n, format=lambda n: "PNG" if n % 3 else "JPEG")
    found = split_drift(some("train", 60, width=lambda n: 300 + n), {"test": other})
    assert [one.sentence.partition(":")[0].rpartition(" in ")[2] for one in found] == [
        "width",
        "bytes per pixel",
        "format",
    ]
    assert found[2].sentence.endswith("JPEG in 100 % against 33 %, shares 0.67 apart of 1")


def test_a_sure_but_small_difference_is_none():
    rng = np.random.default_rng(0)
    thumb = thumb_of(1)
    train = some("train", 1_000, width=lambda _: int(rng.normal(500, 50)), thumb=lambda _: thumb)
    test = some("test", 1_000, width=lambda _: int(rng.normal(515, 50)), thumb=lambda _: thumb)
    assert split_drift(train, {"test": test}) == []
    assert LEAST_DIFFERENCE == 0.2


def test_few_images_tell_nothing():
    assert split_drift(some("train", 60), {"test": some("test", 9, width=lambda _: 5_000)}) == []
    assert split_drift(some("train", 9), {"test": some("test", 60, width=lambda _: 5_000)}) == []
    assert split_drift(some("train", 60), {}) == []
