from pathlib import Path
from typing import Any

import pytest

from protoquant.core.errors import ConfigError, DataError
from protoquant.core.events import Event, MessageEvent
from protoquant.data.config import PrepareConfig
from protoquant.data.readers.image_folder import read
from protoquant.data.readers.listing import Listing

BOTH = ("cat", "dog")


def touch(root: Path, *folders: str, number: int = 1) -> None:
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{number}.jpg").touch()


def under(*folders: str) -> list[str]:
    return [f"{folder}/{name}" for folder in folders for name in BOTH]


def listed(root: Path, splits: Any = None) -> tuple[Listing, list[str]]:
    events: list[Event] = []
    values = {"reader": "image_folder", "root": str(root), "splits": splits}
    listing = read(root, config=PrepareConfig.parse(values), on_event=events.append)
    return listing, [event.text for event in events if isinstance(event, MessageEvent)]


def splits(listing: Listing) -> dict[str, str | None]:
    """The split of each image's top folder."""
    return {
        Path(path).parts[0]: split for path, split in zip(listing.frame["path"], listing.frame["split"], strict=True)
    }


@pytest.mark.parametrize(
    "names",
    [
        ("training", "dev", "testing"),
        ("Train_Set", "Valid", "TestSet"),
        ("seg_train", "seg_val", "seg_test"),
        ("train-images", "val images", "test.data"),
    ],
)
def test_a_split_may_be_spelt_in_many_ways(names: tuple[str, ...], tmp_path: Path) -> None:
    touch(tmp_path, *under(*names))
    listing, said = listed(tmp_path)
    assert splits(listing) == dict(zip(names, ("train", "validation", "test"), strict=True))
    assert listing.classes == BOTH
    assert said == []


def test_a_wrapper_of_the_same_name_is_looked_through_and_a_split_without_classes_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, *under("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred")
    listing, said = listed(tmp_path)
    assert splits(listing) == {"seg_train": "train", "seg_test": "test"}
    assert listing.classes == BOTH
    assert said == ["seg_pred/ is passed over: 1 image without a class"]


def test_a_flat_test_folder_is_passed_over_and_said(tmp_path: Path) -> None:
    touch(tmp_path, *under("train"), "test")
    listing, said = listed(tmp_path)
    assert splits(listing) == {"train": "train"}
    assert said == ["test/ is passed over: 1 image without a class"]
    assert [row.image_id for row in listing.rejected] == ["test/1.jpg"]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train", "bus", "car")
    listing, said = listed(tmp_path)
    assert listing.classes == ("bus", "car", "train")
    assert said == []


def test_folders_without_images_beside_train_do_not_count(tmp_path: Path) -> None:
    touch(tmp_path, *under("train"))
    (tmp_path / "runs" / "first").mkdir(parents=True)
    assert splits(listed(tmp_path)[0]) == {"train": "train"}


def test_a_loop_of_links_in_a_split_hides_nothing(tmp_path: Path) -> None:
    touch(tmp_path, *under("train", "test"))
    (tmp_path / "test" / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop is a link that leads nowhere"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            under("siteA", "siteB"),
            r"siteA and siteB hold the same folders \(cat, dog\).*splits: \{train: siteA, test: si",
        ),
        (
            under("train", "holdout"),
            r"folders below 'holdout' \(cat, dog\).*\{train: train\} \(the others.*splits: none",
        ),
        (["cat/train", "cat/test", "dog/train", "dog/test"], r"splits below the classes; put the classes below"),
        (["train", "test"], r"2 folders \(test, train\) with images but no class folders; if a table has the labels"),
        (["train", "test1"], r"2 folders \(test1, train\) with images but no class folders"),
        (["train", "train_masks"], r"1 folder \(train\) with images but no class folders"),
        (["train", "unlabelled"], r"if the folders of the root are the classes, set prepare\.splits: none"),
        (["train/steam", "train/diesel", "bus/city"], r"train holds class folders, and so do bus, .*\{train: train\}"),
    ],
)
def test_a_layout_with_two_readings_is_refused(folders: list[str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, *folders)
    with pytest.raises(DataError, match=message) as caught:
        listed(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_key_decides_between_two_readings(tmp_path: Path) -> None:
    touch(tmp_path, *under("siteA", "siteB"))
    assert splits(listed(tmp_path, {"train": "siteA", "test": "siteB"})[0]) == {"siteA": "train", "siteB": "test"}
    listing, said = listed(tmp_path, {"train": "siteA"})
    assert splits(listing) == {"siteA": "train"}
    assert said == ["siteB/ is passed over: prepare.splits does not name it"]
    listing, _ = listed(tmp_path, "none")
    assert listing.classes == ("siteA", "siteB")
    assert splits(listing) == {"siteA": None, "siteB": None}


def test_folders_beside_those_that_the_key_names_are_said(tmp_path: Path) -> None:
    touch(tmp_path, *under("data/A", "data/B", "data/C"))
    listing, said = listed(tmp_path, {"train": "data/A", "test": "data/B"})
    assert set(listing.frame["split"]) == {"train", "test"}
    assert said == ["C/ is passed over: prepare.splits does not name it"]
    assert [row.image_id for row in listing.rejected] == ["data/C/cat/1.jpg", "data/C/dog/1.jpg"]


def test_folders_that_share_one_name_are_classes(tmp_path: Path) -> None:
    touch(tmp_path, "cat/raw", "dog/raw", "cat/crop", "eel")
    assert listed(tmp_path)[0].classes == ("cat", "dog", "eel")


def test_a_split_that_was_given_must_be_there(tmp_path: Path) -> None:
    touch(tmp_path, *under("Training"))
    with pytest.raises(DataError, match=r"prepare\.splits\.test: .* holds no folder 'Testing'; its folders: Training"):
        listed(tmp_path, {"train": "Training", "test": "Testing"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"test": "a"}, "splits must name the folder of train"),
        ({"train": "a", "test": "a/"}, "another folder for each split"),
        ({"train": "a", "test": "a/test"}, "another folder for each split, none in another"),
        ({"train": "../a"}, "folders below root, got '../a'"),
        ({"trian": "a"}, "prepare.splits"),
        ("nine", "prepare.splits must be .* got 'nine'"),
    ],
)
def test_an_impossible_key_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareConfig.parse({"reader": "image_folder", "splits": given}, "prepare")


def test_splits_have_no_effect_with_another_reader() -> None:
    with pytest.raises(ConfigError, match="splits has no effect with reader 'table'"):
        PrepareConfig.parse({"reader": "table", "splits": "none"}, "prepare")
