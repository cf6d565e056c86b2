"""Stanford Dogs-120 in its published layout, whole, in part and wrong."""

import json
from pathlib import Path

import pytest

from protoquant.core.errors import DataError
from protoquant.data.readers import dogs
from protoquant.data.readers.listing import natural_order
from tests.builders.dogs import CLASSES, COUNTS, TITLES, write_dogs, write_list
from tests.builders.official import listed, prepared, publish, rows

WHERE = "get it whole from http://vision.stanford.edu/aditya86/ImageNetDogs/"
PART = "; for a subset set prepare.partial: true (params.yaml)"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    publish(monkeypatch.setattr, dogs, COUNTS, {"train": 4})
    return write_dogs(tmp_path / "dogs")


def refused(root: Path, *, partial: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        listed(dogs, root, partial=partial)
    return str(caught.value)


def test_the_published_counts() -> None:
    assert dogs.PUBLISHED.images == {"train": 12_000, "test": 8_580}
    assert (dogs.PUBLISHED.classes, dogs.PUBLISHED.each) == (120, {"train": 100})


def test_photos_of_both_lists(root: Path) -> None:
    listing, told = listed(dogs, root)
    assert len(listing.frame) == 21
    assert {row for row in rows(listing) if row[1] == CLASSES[0]} == {
        (f"Images/{CLASSES[0]}/n02085620_{number}.jpg", CLASSES[0], "train" if number < 104 else "test")
        for number in range(100, 106)
    }
    assert listing.frame["split"].value_counts().to_dict() == COUNTS == {"train": 12, "test": 9}
    assert listing.class_names() == CLASSES == natural_order(CLASSES)
    assert listing.titles == dict(zip(CLASSES, TITLES, strict=True))
    assert (listing.image_root, listing.official, told) == (root, True, [])


def test_lists_may_lie_in_a_folder_of_their_own(root: Path, tmp_path: Path) -> None:
    other = write_dogs(tmp_path / "other", "lists")
    assert rows(listed(dogs, other)[0]) == rows(listed(dogs, root)[0])
    (other / "lists/test_list.mat").unlink()
    assert refused(other) == f"{other} lacks 1 file (lists/test_list.mat) of Stanford Dogs-120; {WHERE}"


def test_a_missing_file_says_where_the_set_is(root: Path) -> None:
    for name in ("train_list.mat", "test_list.mat"):
        (root / name).unlink()
    assert refused(root) == f"{root} lacks 2 files (train_list.mat, test_list.mat) of Stanford Dogs-120; {WHERE}"


def test_missing_images_are_counted_and_named(root: Path) -> None:
    for number in range(100, 105):
        (root / f"Images/{CLASSES[0]}/n02085620_{number}.jpg").unlink()
    named = ", ".join(f"Images/{CLASSES[0]}/n02085620_{number}.jpg" for number in range(100, 103))
    assert refused(root) == f"{root} lacks 5 images ({named}, ...) of Stanford Dogs-120; {WHERE}{PART}"
    listing, told = listed(dogs, root, partial=True)
    said = "part of Stanford Dogs-120 (prepare.partial): 8 of 12 train, 7 of 9 test images, 2 of 3 classes"
    assert told == [f"{said}; passed over: 1 image of classes without a train image"]
    assert listing.class_names() == CLASSES[1:]


def test_other_counts_are_refused(root: Path) -> None:
    listing, _ = listed(dogs, root)
    given = [
        (path.removeprefix("Images/"), CLASSES.index(name) + 1)
        for path, name, split in listing.frame.itertuples(index=False)
        if split == "train"
    ]
    write_list(root / "train_list.mat", given[1:])
    assert refused(root) == (
        f"Stanford Dogs-120 has 4 train images of class {CLASSES[0]!r}, {root} holds 3; {WHERE}{PART}"
    )
    write_list(root / "train_list.mat", given[4:])
    write_list(root / "test_list.mat", [(path, label) for path, label in given if label > 1])
    assert refused(root) == f"Stanford Dogs-120 has 12 train images, {root} holds 8; {WHERE}{PART}"


def test_a_label_with_two_breeds_is_refused(root: Path) -> None:
    write_list(root / "test_list.mat", [(f"{CLASSES[0]}/n02085620_104.jpg", 2)])
    assert refused(root) == (
        f"{root}: class 1 is {CLASSES[0]!r} and class 2 is {CLASSES[0]!r}; take the lists and the images from one copy "
        f"of Stanford Dogs-120"
    )
    write_list(root / "test_list.mat", [(f"{CLASSES[0]}/n02085620_104.jpg", 1), ("other/1.jpg", 1)])
    assert "class 1 is 'n02085620-Chihuahua' and class 1 is 'other'" in refused(root)


def test_prepare_writes_the_readable_names(root: Path, tmp_path: Path) -> None:
    result, _ = prepared(dogs, root, tmp_path / "out")
    assert result.images == {"train": 9, "validation": 3, "test": 9}
    assert json.loads((tmp_path / "out/images/titles.json").read_text()) == dict(zip(CLASSES, TITLES, strict=True))
    assert json.loads((tmp_path / "out/images/classes.json").read_text()) == list(CLASSES)
