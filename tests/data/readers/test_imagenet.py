"""ImageNet-1k in folders and in its archives, whole, in part and wrong."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from timm.data import ImageNetInfo

from protoquant.core.artifacts import read_table
from protoquant.core.errors import DataError
from protoquant.data.readers import imagenet
from protoquant.data.readers.listing import natural_order
from protoquant.data.table import ImageTable
from tests.builders.imagenet import (
    CLASSES,
    COUNTS,
    KIT,
    TITLES,
    TRAIN,
    TRUTH,
    packed,
    truth,
    write_archives,
    write_folders,
    write_kit,
    write_packed_kit,
)
from tests.builders.official import Rows, listed, prepared, publish, rows

WHERE = "get it whole from https://image-net.org/download-images.php"
PART = "; for a subset set prepare.partial: true (params.yaml)"
NAMES = dict(zip(CLASSES, TITLES, strict=True))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch.setattr, imagenet, COUNTS, {"test": 2})


def refused(root: Path, *, partial: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        listed(imagenet, root, partial=partial)
    return str(caught.value)


def wanted(train: str, val: str) -> Rows:
    """Every image, where ``{wnid}`` is its class."""
    found = {
        (f"{train}/{wnid}_{place}.JPEG".format(wnid=wnid), wnid, "train")
        for wnid, count in TRAIN.items()
        for place in range(count)
    }
    return found | {
        (f"{val}/ILSVRC2012_val_{number:08d}.JPEG".format(wnid=truth(number)), truth(number), "test")
        for number in range(1, len(TRUTH) + 1)
    }


def test_the_ground_truth_of_the_fixture_by_hand() -> None:
    assert [truth(number) for number in range(1, 7)] == [
        "n01443537",  # 3
        "n02105855",  # 1
        "n01440764",  # 2
        "n01440764",
        "n01443537",
        "n02105855",
    ]


def test_class_folders(tmp_path: Path) -> None:
    listing, told = listed(imagenet, write_folders(tmp_path))
    assert rows(listing) == wanted("train/{wnid}", "val/{wnid}")
    assert listing.frame["split"].value_counts().to_dict() == COUNTS == {"train": 9, "test": 6}
    assert listing.class_names() == tuple(sorted(CLASSES)) == natural_order(CLASSES)
    assert (listing.image_root, listing.titles, listing.official, told) == (tmp_path, {}, True, [])


@pytest.mark.parametrize("write", [write_kit, write_packed_kit])
def test_validation_images_in_one_folder_take_their_classes_from_the_kit(tmp_path: Path, write) -> None:
    write(write_folders(tmp_path, flat=True))
    listing, told = listed(imagenet, tmp_path)
    assert rows(listing) == wanted("train/{wnid}", "val")
    assert (listing.titles, told) == (NAMES, [])


def test_archives_are_read_in_place(tmp_path: Path) -> None:
    listing, told = listed(imagenet, write_archives(tmp_path))
    assert rows(listing) == wanted("ILSVRC2012_img_train.tar/{wnid}.tar", "ILSVRC2012_img_val.tar")
    assert (listing.titles, listing.official, told) == (NAMES, True, [])


def test_prepare_gives_the_images_that_folders_give(tmp_path: Path) -> None:
    tables = {}
    for name, root in (("folders", write_folders(tmp_path / "a")), ("archives", write_archives(tmp_path / "b"))):
        result, _ = prepared(imagenet, root, tmp_path / name)
        assert (result.images, result.quarantined) == ({"train": 6, "validation": 3, "test": 6}, {})
        tables[name] = read_table(tmp_path / name / "images/test/images.parquet")
    one, other = (table.sort_values("digest", ignore_index=True) for table in tables.values())
    assert one.drop(columns="image_id").equals(other.drop(columns="image_id"))
    opened = ImageTable.open(tmp_path / "archives/images", tmp_path / "b").split("train")
    assert opened.image(opened.frame["image_id"][0]).size == (64, 56)
    assert json.loads((tmp_path / "archives/images/titles.json").read_text()) == NAMES
    assert not (tmp_path / "folders/images/titles.json").exists()


def test_the_classes_are_the_wnids_in_the_order_of_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wnids = ImageNetInfo().label_names()
    for split in ("train", "val"):
        for wnid in reversed(wnids):
            (tmp_path / split / wnid).mkdir(parents=True)
            (tmp_path / split / wnid / "1.JPEG").touch()
    one_each = replace(imagenet.PUBLISHED, classes=1000, images={"train": 1000, "test": 1000}, each={"test": 1})
    monkeypatch.setattr(imagenet, "PUBLISHED", one_each)
    listing, _ = listed(imagenet, tmp_path)
    assert list(listing.class_names()) == wnids
    assert list(natural_order(listing.class_names())) == wnids


def test_the_published_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert imagenet.PUBLISHED.images == {"train": 1_281_167, "test": 50_000}
    assert (imagenet.PUBLISHED.classes, imagenet.PUBLISHED.each) == (1000, {"test": 50})


def test_a_missing_split_or_kit_says_where_it_is(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "imagenet", flat=True)
    assert refused(root) == (
        f"{root}/val has no class folders, so its labels are read from {KIT}.tar.gz or {KIT}/, which {root} lacks; "
        f"{WHERE}"
    )
    shutil.rmtree(root / "val")
    assert refused(root) == f"{root} lacks val/ or ILSVRC2012_img_val.tar of ImageNet-1k; {WHERE}{PART}"
    assert refused(tmp_path) == (
        f"{tmp_path} lacks train/ or ILSVRC2012_img_train.tar of ImageNet-1k; set prepare.root to {root} (params.yaml)"
    )
    assert refused(root / "none") == (
        f"prepare.root must be the folder of ImageNet-1k; {root}/none does not exist (params.yaml); correct it"
    )


def test_a_part_is_taken_and_counted(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    shutil.rmtree(root / "train" / CLASSES[0])
    (root / "val" / CLASSES[1] / "ILSVRC2012_val_00000001.JPEG").unlink()
    assert refused(root) == f"ImageNet-1k has 9 train images, {root} holds 6; {WHERE}{PART}"
    listing, told = listed(imagenet, root, partial=True)
    said = "part of ImageNet-1k (prepare.partial): 6 of 9 train, 3 of 6 test images, 2 of 3 classes"
    assert told == [f"{said}; passed over: 2 images of classes without a train image"]
    assert listing.class_names() == (CLASSES[1], CLASSES[2])
    shutil.rmtree(root / "val")
    _, told = listed(imagenet, root, partial=True)
    assert told == [f"{said.replace('3 of 6', '0 of 6')}; test is cut from train and is not the published one"]
    shutil.rmtree(root / "train")
    assert refused(root, partial=True) == f"{root} holds no train image of ImageNet-1k; {WHERE}"


def test_other_counts_are_refused(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    file = root / f"train/{CLASSES[0]}/{CLASSES[0]}_0.JPEG"
    file.rename(root / f"train/{CLASSES[1]}/moved.JPEG")
    listed(imagenet, root)  # the counts of splits are right, and without the kit those of classes are not known
    write_kit(root)
    assert refused(
        root
    ) == f"ImageNet-1k has 2 train images of class {CLASSES[1]!r}, {root} holds 3; {WHERE}{PART}" or (
        refused(root) == f"ImageNet-1k has 3 train images of class {CLASSES[0]!r}, {root} holds 2; {WHERE}{PART}"
    )
    shutil.rmtree(root / KIT)
    (root / f"train/{CLASSES[1]}/moved.JPEG").unlink()
    assert refused(root) == f"ImageNet-1k has 9 train images, {root} holds 8; {WHERE}{PART}"
    file = root / f"val/{CLASSES[1]}/ILSVRC2012_val_00000001.JPEG"
    file.rename(root / f"val/{CLASSES[2]}/{file.name}")
    (root / f"train/{CLASSES[0]}/{CLASSES[0]}_0.JPEG").touch()
    assert refused(root) == f"ImageNet-1k has 2 test images of class {CLASSES[1]!r}, {root} holds 1; {WHERE}{PART}"


def test_a_folder_that_is_no_wnid_is_refused(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    (root / "train" / CLASSES[0]).rename(root / "train" / "tench")
    assert refused(root) == (
        f"{root}/train holds 1 folder (tench) not named by a wnid such as n01440764; rename or remove them"
    )


def test_names_that_archives_should_not_hold_are_refused(tmp_path: Path) -> None:
    root = write_archives(tmp_path)
    (root / "ILSVRC2012_img_val.tar").write_bytes(packed({"ILSVRC2012_val_00000007.JPEG": b""}))
    assert refused(root) == (
        f"{root}/ILSVRC2012_img_val.tar holds ILSVRC2012_val_00000007.JPEG, expected ILSVRC2012_val_00000001.JPEG to "
        f"00000006; {WHERE}"
    )
    (root / "ILSVRC2012_img_train.tar").write_bytes(packed({"n01440764_0.JPEG": b""}))
    assert refused(root) == (
        f"{root}/ILSVRC2012_img_train.tar holds n01440764_0.JPEG, expected an archive for each wnid; {WHERE}"
    )


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    root = write_archives(tmp_path)
    train = root / "ILSVRC2012_img_train.tar"
    train.write_bytes(train.read_bytes()[:-20_000])
    assert refused(root).startswith(f"{train} cannot be read as a plain tar archive (")


def test_a_wrong_kit_is_refused(tmp_path: Path) -> None:
    root = write_folders(tmp_path, flat=True)
    kit = write_kit(root)
    truths = kit / "data/ILSVRC2012_validation_ground_truth.txt"
    truths.write_text("3\n1\n4\n")
    assert refused(root) == (f"{truths}, line 3: expected the number of a class, got '4'; copy {KIT}.tar.gz again"), (
        "4 is the inner node"
    )
    truths.unlink()
    assert refused(root) == f"{kit} lacks data/ILSVRC2012_validation_ground_truth.txt; copy {KIT}.tar.gz again"
    shutil.rmtree(kit)
    with tarfile.open(root / f"{KIT}.tar.gz", "w:gz"):
        pass
    assert refused(root) == (
        f"{root}/{KIT}.tar.gz lacks data/meta.mat and data/ILSVRC2012_validation_ground_truth.txt; copy "
        f"{KIT}.tar.gz again"
    )
    (root / f"{KIT}.tar.gz").write_bytes(b"no archive")
    assert refused(root).startswith(f"{root}/{KIT}.tar.gz cannot be read as a packed tar archive (")
