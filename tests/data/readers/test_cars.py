"""Stanford Cars-196 in each of its layouts, whole, in part and wrong."""

import json
from pathlib import Path

import pytest

from protoquant.core.errors import DataError
from protoquant.data.readers import cars
from protoquant.data.readers.listing import natural_order
from tests.builders.cars import (
    COUNTS,
    TEST,
    TITLES,
    TRAIN,
    write_annotations,
    write_class_folders,
    write_devkit,
    write_one_folder,
)
from tests.builders.matlab import cells, write_mat
from tests.builders.official import listed, prepared, publish, rows

WHERE = "its authors host it no longer, so copy it whole from somebody who has it (docs/datasets.md)"
PART = "; for a subset set prepare.partial: true (params.yaml)"
CLASSES = ("1", "2", "3")
LABELS = "cars_test_annos_withlabels.mat"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch.setattr, cars, COUNTS, {})


def refused(root: Path, *, partial: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        listed(cars, root, partial=partial)
    return str(caught.value)


@pytest.mark.parametrize("tests", [LABELS, f"devkit/{LABELS}"])
def test_the_layout_of_the_devkit(tmp_path: Path, tests: str) -> None:
    listing, told = listed(cars, write_devkit(tmp_path, tests))
    assert rows(listing) == {
        (f"cars_{split}/{number:05d}.jpg", str(label), split)
        for split, labels in (("train", TRAIN), ("test", TEST))
        for number, label in enumerate(labels, start=1)
    }
    assert listing.frame["split"].value_counts().to_dict() == COUNTS == {"train": 7, "test": 5}
    assert listing.class_names() == CLASSES == natural_order(CLASSES)
    assert listing.titles == dict(zip(CLASSES, TITLES, strict=True))
    assert (listing.image_root, listing.official, told) == (tmp_path, True, [])


def test_the_layout_of_one_folder(tmp_path: Path) -> None:
    listing, told = listed(cars, write_one_folder(tmp_path))
    assert rows(listing) == {
        (f"car_ims/{number:06d}.jpg", str(label), "train" if number <= len(TRAIN) else "test")
        for number, label in enumerate(TRAIN + TEST, start=1)
    }
    assert listing.class_names() == CLASSES
    assert listing.titles == dict(zip(CLASSES, TITLES, strict=True))
    assert (listing.official, told) == (True, [])


@pytest.mark.parametrize("wrapper", ["", "car_data", "car_data/car_data"])
def test_the_layout_of_class_folders_takes_numbers_from_the_list(tmp_path: Path, wrapper: str) -> None:
    listing, told = listed(cars, write_class_folders(tmp_path, wrapper))
    assert rows(listing) == {
        (str(Path(wrapper, split, TITLES[label - 1].replace("/", "-"), f"{number:05d}.jpg")), str(label), split)
        for split, labels in (("train", TRAIN), ("test", TEST))
        for number, label in enumerate(labels)
    }
    assert listing.class_names() == CLASSES
    assert listing.titles["3"] == "Ram C/V Cargo Van Minivan 2012"
    assert (listing.official, told) == (True, [])


def test_the_list_may_be_that_of_the_devkit(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, "", names=False)
    write_mat(root / "devkit/cars_meta.mat", {"class_names": cells(TITLES)})
    listing, told = listed(cars, root)
    assert (listing.class_names(), listing.titles["2"], told) == (CLASSES, TITLES[1], [])


def test_class_folders_without_a_list_keep_their_names_and_this_is_said(tmp_path: Path) -> None:
    listing, told = listed(cars, write_class_folders(tmp_path, names=False))
    assert listing.class_names() == (TITLES[1], TITLES[0], "Ram C-V Cargo Van Minivan 2012")
    assert (listing.titles, listing.official) == ({}, True)
    beside = "neither names.csv nor devkit/cars_meta.mat lies beside the folders of Stanford Cars-196"
    assert told == [f"{beside}, so its classes are named by their folders and not by their official numbers"]


def test_a_folder_that_the_list_does_not_name_is_refused(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, "")
    folder = root / "train" / TITLES[1]
    folder.rename(folder.with_name("Acura RL Sedan 2013"))
    assert refused(root) == (
        f"{root}/train/Acura RL Sedan 2013 is no class of the list of names beside it; did you mean 'Acura RL Sedan "
        f"2012'?; take the list and the folders from one copy"
    )


def test_without_the_labels_of_test_only_a_part_is_there(tmp_path: Path) -> None:
    root = write_devkit(tmp_path, "")
    assert refused(root) == (
        f"{root} lacks {LABELS}, the labels of the test images of Stanford Cars-196, which are not in its devkit; "
        f"{WHERE}{PART}"
    )
    listing, told = listed(cars, root, partial=True)
    said = "part of Stanford Cars-196 (prepare.partial): 7 of 7 train, 0 of 5 test images, 3 of 3 classes"
    assert told == [f"{said}; test is cut from train and is not the published one"]
    assert set(listing.frame["split"]) == {"train"}


def test_a_missing_file_or_image_is_named(tmp_path: Path) -> None:
    root = write_devkit(tmp_path)
    for number in range(1, 5):
        (root / f"cars_test/{number:05d}.jpg").unlink()
    named = "cars_test/00001.jpg, cars_test/00002.jpg, cars_test/00003.jpg, ..."
    assert refused(root) == f"{root} lacks 4 images ({named}) of Stanford Cars-196; {WHERE}{PART}"
    assert listed(cars, root, partial=True)[1] == [
        "part of Stanford Cars-196 (prepare.partial): 7 of 7 train, 1 of 5 test images, 3 of 3 classes"
    ]
    (root / "devkit/cars_meta.mat").unlink()
    assert refused(root) == f"{root} lacks 1 file (devkit/cars_meta.mat) of Stanford Cars-196; {WHERE}"


def test_other_counts_are_refused(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, "")
    next((root / "test" / TITLES[0]).iterdir()).unlink()
    assert refused(root) == f"Stanford Cars-196 has 5 test images, {root} holds 4; {WHERE}{PART}"
    for file in (root / "train" / TITLES[1]).iterdir():
        file.rename(root / "train" / TITLES[0] / f"2{file.name}")
    assert refused(root) == f"Stanford Cars-196 has 3 classes in train, {root} holds 2; {WHERE}{PART}"


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    root = write_devkit(tmp_path)
    write_annotations(root / LABELS, [f"{number:05d}.jpg" for number in range(1, 6)], [1, 2, 3, 4, 1])
    assert refused(root) == f"{root}/{LABELS} names class 4, there are names for 1 to 3; copy both files again"


def test_annotations_without_labels_are_refused(tmp_path: Path) -> None:
    root = write_devkit(tmp_path)
    (root / LABELS).write_bytes((root / "devkit/cars_test_annos.mat").read_bytes())
    assert refused(root) == (f"{root}/{LABELS}: expected 'annotations' to be structs with fname, class; copy it again")


def test_another_folder_is_refused_with_what_is_read(tmp_path: Path) -> None:
    write_one_folder(tmp_path / "deep/cars")
    expected = (
        "expected devkit/ with cars_train/ and cars_test/, cars_annos.mat with car_ims/, or train/ and test/ with "
        "class folders"
    )
    assert refused(tmp_path / "deep") == (
        f"{tmp_path}/deep is not Stanford Cars-196: {expected}; set prepare.root to {tmp_path}/deep/cars (params.yaml)"
    )
    assert refused(tmp_path) == f"{tmp_path} is not Stanford Cars-196: {expected}; {WHERE}"
    assert refused(tmp_path / "none") == (
        f"prepare.root must be the folder of Stanford Cars-196; {tmp_path}/none does not exist (params.yaml); "
        f"correct it"
    )


def test_prepare_writes_the_readable_names(tmp_path: Path) -> None:
    result, _ = prepared(cars, write_devkit(tmp_path / "cars"), tmp_path / "out")
    assert (result.images["test"], result.classes) == (5, 3)
    assert json.loads((tmp_path / "out/images/titles.json").read_text()) == dict(zip(CLASSES, TITLES, strict=True))
