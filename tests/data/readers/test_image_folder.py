import os
import sys
from pathlib import Path
from typing import Any

import pytest

from protoquant.core.errors import DataError
from protoquant.data.readers.image_folder import read
from protoquant.data.readers.listing import Listing, natural_order


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def rows(listing: Listing) -> list[tuple[str, str, str | None]]:
    return sorted(listing.frame.itertuples(index=False, name=None))


def left_out(listing: Listing) -> dict[str, str]:
    return {row.image_id: row.reason.value for row in listing.rejected}


def test_folders_in_the_root_are_classes_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "10 crow/a.jpg", "2 Robin/b.PNG", "2 Robin/deep/er/c.webp", "apple/d.jpg")
    (tmp_path / "empty").mkdir()
    listing = read(tmp_path)
    assert listing.classes == ("2 Robin", "10 crow", "apple", "empty")
    assert listing.image_root == tmp_path
    assert rows(listing) == [
        ("10 crow/a.jpg", "10 crow", None),
        ("2 Robin/b.PNG", "2 Robin", None),
        ("2 Robin/deep/er/c.webp", "2 Robin", None),
        ("apple/d.jpg", "apple", None),
    ]


@pytest.mark.parametrize(
    "names", [("train", "validation", "test"), ("Train", "val", "TEST"), ("train", "valid", "test")]
)
def test_split_folders_are_recognised(names: tuple[str, ...], tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/robin/1.jpg" for name in names), f"{names[0]}/crow/1.jpg")
    listing = read(tmp_path)
    assert listing.classes == ("crow", "robin")
    wanted = zip(names, ("train", "validation", "test"), strict=True)
    assert rows(listing) == sorted(
        [(f"{name}/robin/1.jpg", "robin", split) for name, split in wanted]
        + [(f"{names[0]}/crow/1.jpg", "crow", "train")]
    )


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    touch(tmp_path, "test/1.jpg", "cat/1.jpg")
    assert read(tmp_path).classes == ("cat", "test")


def test_what_is_no_image_of_a_class_is_left_out_by_name(tmp_path: Path) -> None:
    touch(
        tmp_path, "cat/1.jpg", "cat/notes.txt", "cat/raw", "loose.jpg", "README.md", "cat/.hidden.jpg", "cat/Thumbs.db"
    )
    touch(tmp_path, ".git/x.jpg", "__MACOSX/cat/1.jpg")
    listing = read(tmp_path)
    assert rows(listing) == [("cat/1.jpg", "cat", None)]
    assert left_out(listing) == {
        "cat/notes.txt": "not_an_image",
        "cat/raw": "not_an_image",
        "loose.jpg": "outside_class_folder",
    }
    assert (
        "it ends in .txt, images in .jpg .jpeg"
        in {row.image_id: row.detail for row in listing.rejected}["cat/notes.txt"]
    )


def test_images_beside_split_folders_are_left_out_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/2.jpg", "test/cat/1.jpg", "masks/cat/1.png", "masks/list.txt", "top.png")
    listing = read(tmp_path)
    assert len(listing.frame) == 2
    assert left_out(listing) == dict.fromkeys(["train/2.jpg", "masks/cat/1.png", "top.png"], "outside_class_folder")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train/cat/1.jpg", "tset/cat/1.jpg"],
            r"class folders below 'tset' \(cat\), which is no split; did you mean 'test'\?; rename it, or name",
        ),
        (
            ["train/cat/1.jpg", "val/cat/1.jpg", "valid/cat/1.jpg"],
            r"the validation split more than once \(val, valid\); keep one",
        ),
        (["val/cat/1.jpg", "test/cat/1.jpg"], r"holds test, val but no folder train; add it"),
    ],
)
def test_unclear_split_folders_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_missing_root_says_which_key_to_correct(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"prepare\.root must be a folder .*absent does not exist \(params\.yaml\); correct it"
    ):
        read(tmp_path / "absent")
    touch(tmp_path, "file.csv")
    with pytest.raises(DataError, match=r"file\.csv is a file"):
        read(tmp_path / "file.csv")


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "data/cat/1.jpg", "elsewhere/1.jpg", "more/2.jpg")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "cat" / "more").symlink_to(tmp_path / "more")
    (tmp_path / "data" / "cat" / "loop").symlink_to(tmp_path / "data" / "cat")
    paths = ["cat/1.jpg", "cat/more/2.jpg", "dog/1.jpg"]
    assert rows(read(tmp_path / "data")) == [(path, path[:3], None) for path in paths]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stores names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg")
    (Path(os.fsdecode(bytes(tmp_path / "cat") + b"/caf\xe9.jpg"))).touch()
    assert left_out(read(tmp_path)) == {"cat/caf\\udce9.jpg": "bad_name"}


def test_the_listing_does_not_depend_on_the_order_on_disk(tmp_path: Path) -> None:
    names = [f"{folder}/{number}.jpg" for folder in "ab" for number in range(5)]
    touch(tmp_path / "one", *names)
    touch(tmp_path / "two", *reversed(names))
    assert read(tmp_path / "one").frame.equals(read(tmp_path / "two").frame)


def test_natural_order() -> None:
    assert natural_order(["b10", "B2", "a", "b2", "10", "9"]) == ("9", "10", "a", "B2", "b2", "b10")


def refusing(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Make folders that cannot be opened, whoever runs the tests."""
    opened = os.scandir

    def scandir(path: str | Path) -> Any:
        if Path(path) in folders:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_cannot_be_opened_is_named_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/closed/2.jpg", "dog/1.jpg")
    refusing(monkeypatch, tmp_path / "cat" / "closed")
    listing = read(tmp_path)
    assert len(listing.frame) == 2
    assert left_out(listing) == {"cat/closed": "unreadable"}


@pytest.mark.parametrize(("closed", "there"), [("cat", "cat/1.jpg"), ("train", "train/cat/1.jpg")])
def test_a_class_or_a_split_that_cannot_be_opened_ends_the_run(
    closed: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, there, "dog/1.jpg")
    refusing(monkeypatch, tmp_path / closed)
    with pytest.raises(
        DataError, match=rf"{closed} cannot be opened \(Permission denied\); mend its rights, or remove"
    ):
        read(tmp_path)


def test_a_class_that_is_a_broken_link_ends_the_run(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg")
    (tmp_path / "dog").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="dog is a link that leads nowhere; mend it, or remove it"):
        read(tmp_path)
