"""Oxford Flowers-102 in its published layout, whole, in part and wrong."""

from pathlib import Path

import pytest

from protoquant.core.errors import DataError
from protoquant.data.readers import flowers
from protoquant.data.readers.listing import natural_order
from protoquant.data.table import ImageTable
from tests.builders.flowers import CLASSES, COUNTS, SPLITS, label, write_flowers, write_splits
from tests.builders.official import listed, prepared, publish, rows
from tests.builders.pictures import save, small

WHERE = "get it whole from https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
PART = "; for a subset set prepare.partial: true (params.yaml)"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    publish(monkeypatch.setattr, flowers, COUNTS, {"train": 2, "validation": 1})
    return write_flowers(tmp_path / "flowers")


def refused(root: Path, *, partial: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        listed(flowers, root, partial=partial)
    return str(caught.value)


def test_the_published_counts() -> None:
    assert flowers.PUBLISHED.images == {"train": 1020, "validation": 1020, "test": 6149}
    assert (flowers.PUBLISHED.classes, flowers.PUBLISHED.each) == (102, {"train": 10, "validation": 10})


def test_train_is_trnid_and_test_is_tstid(root: Path) -> None:
    listing, told = listed(flowers, root)
    names = {"train": "trnid", "validation": "valid", "test": "tstid"}
    assert rows(listing) == {
        (f"jpg/image_{number:05d}.jpg", str(label(number)), split)
        for split, name in names.items()
        for number in SPLITS[name]
    }
    assert listing.frame["split"].value_counts().to_dict() == COUNTS == {"train": 6, "validation": 3, "test": 7}
    assert listing.class_names() == CLASSES == natural_order(CLASSES)
    assert (listing.image_root, listing.titles, listing.official, told) == (root, {}, True, [])


def test_a_missing_file_says_where_the_set_is(root: Path) -> None:
    (root / "setid.mat").unlink()
    assert refused(root) == f"{root} lacks 1 file (setid.mat) of Oxford Flowers-102; {WHERE}"
    assert refused(root, partial=True) == refused(root), "a part needs the file too"
    assert refused(root.parent) == (
        f"{root.parent} lacks 2 files (imagelabels.mat, setid.mat) of Oxford Flowers-102; set prepare.root to {root} "
        f"(params.yaml)"
    )
    assert refused(root / "none") == (
        f"prepare.root must be the folder of Oxford Flowers-102; {root}/none does not exist (params.yaml); correct it"
    )


def test_a_missing_image_is_named(root: Path) -> None:
    (root / "jpg/image_00010.jpg").unlink()
    assert refused(root) == f"{root} lacks 1 image (jpg/image_00010.jpg) of Oxford Flowers-102; {WHERE}{PART}"


def test_part_of_it_is_taken_and_counted(root: Path) -> None:
    for number in (3, 10, 11):
        (root / f"jpg/image_{number:05d}.jpg").unlink()
    listing, told = listed(flowers, root, partial=True)
    counts = "6 of 6 train, 2 of 3 validation, 5 of 7 test images"
    assert told == [f"part of Oxford Flowers-102 (prepare.partial): {counts}, 3 of 3 classes"]
    assert listing.frame["split"].value_counts().to_dict() == {"train": 6, "validation": 2, "test": 5}


def test_classes_that_train_lacks_are_passed_over_in_a_part(root: Path) -> None:
    for number in SPLITS["trnid"]:
        if label(number) == 2:
            (root / f"jpg/image_{number:05d}.jpg").unlink()
    listing, told = listed(flowers, root, partial=True)
    said = "part of Oxford Flowers-102 (prepare.partial): 4 of 6 train, 2 of 3 validation, {} images, 2 of 3 classes"
    passed = "; passed over: {} of classes without a train image"
    assert told == [said.format("4 of 7 test") + passed.format("4 images")]
    assert listing.class_names() == ("1", "3")
    for number in SPLITS["tstid"]:
        (root / f"jpg/image_{number:05d}.jpg").unlink()
    no_test = "; test is cut from train and is not the published one"
    assert listed(flowers, root, partial=True)[1] == [said.format("0 of 7 test") + passed.format("1 image") + no_test]
    for path in (root / "jpg").iterdir():
        path.unlink()
    assert refused(root, partial=True) == f"{root} holds no train image of Oxford Flowers-102; {WHERE}"


def test_train_and_test_that_are_swapped_are_refused(root: Path) -> None:
    write_splits(root, {"trnid": list(SPLITS["tstid"]), "valid": list(SPLITS["valid"]), "tstid": list(SPLITS["trnid"])})
    assert refused(root) == (f"Oxford Flowers-102 has 2 train images of class '1', {root} holds 3; {WHERE}{PART}")


def test_other_counts_are_refused(root: Path) -> None:
    write_splits(root, {name: list(numbers[:6]) for name, numbers in SPLITS.items()})
    assert refused(root) == f"Oxford Flowers-102 has 7 test images, {root} holds 6; {WHERE}{PART}"


def test_files_that_contradict_each_other_are_refused(root: Path) -> None:
    write_splits(root, {"trnid": [1, 4], "valid": [4], "tstid": [10]})
    assert refused(root) == f"{root}/setid.mat names 1 image (4) more than once; {WHERE}"
    write_splits(root, {"trnid": [1, 4], "valid": [0], "tstid": [17]})
    assert refused(root) == f"{root}/setid.mat names 2 images (0, 17) without a label in imagelabels.mat; {WHERE}"
    (root / "setid.mat").write_bytes(b"no MATLAB file")
    assert refused(root).startswith(f"{root}/setid.mat is not a MATLAB file that can be read (")
    (root / "setid.mat").write_bytes((root / "imagelabels.mat").read_bytes())
    assert refused(root) == (
        f"{root}/setid.mat: expected the variables trnid, valid, tstid, found labels; copy it again"
    )


def test_copies_leave_train_and_stay_in_test(root: Path, tmp_path: Path) -> None:
    """Images 10 and 11 of class 1 and 13 of class 2 are one photo, and so are 4 of train and 14 of test, of class 2."""
    for number in (10, 11, 13):
        save(root / f"jpg/image_{number:05d}.jpg", small(100))
    for number in (4, 14):
        save(root / f"jpg/image_{number:05d}.jpg", small(101))
    result, told = prepared(flowers, root, tmp_path / "out")
    assert result.images == {"train": 5, "validation": 3, "test": 7}
    assert result.quarantined == {"leak": 1}
    assert "3 test images have the pixels of another test image, 3 of them under several labels; all stay" in told
    table = ImageTable.open(tmp_path / "out/images", root)
    assert len(table.split("test").frame) == COUNTS["test"]
    assert not (tmp_path / "out/images/titles.json").exists()


def test_a_small_test_image_stays_and_a_damaged_one_is_a_warning(root: Path, tmp_path: Path) -> None:
    save(root / "jpg/image_00010.jpg", small(10).resize((20, 20)))
    (root / "jpg/image_00011.jpg").write_bytes(b"")
    result, told = prepared(flowers, root, tmp_path / "out")
    assert result.images["test"] == 6
    assert (
        "1 of 7 published test images cannot be used (1 zero_bytes, such as jpg/image_00011.jpg); replace these files, "
        "or numbers of test are not comparable"
    ) in told
