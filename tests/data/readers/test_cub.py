"""CUB-200-2011 in its published layout, and each way in which a copy can be wrong."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.readers.cub import read
from tests.builders.cub import BOX, CLASSES, PARTS, SIZE, point, write_cub


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cub(tmp_path / "CUB_200_2011")


def listed(root: Path, *, crop: bool = False, on_event=ignore):
    config = PrepareConfig(reader="cub", crop=crop)
    return read(root, into=root.parent / "into", config=config, workers=2, on_event=on_event)


def test_photos_splits_and_visible_points(root) -> None:
    listing = listed(root)
    assert (listing.image_root, listing.class_names(), listing.official) == (root, CLASSES, True)
    first = "images/001.Black_footed_Albatross/Black_footed_Albatross_0000_1.jpg"
    assert listing.frame.iloc[0].to_dict() == {"path": first, "class_name": CLASSES[0], "split": "train"}
    assert listing.frame["split"].value_counts().to_dict() == {"train": 8, "test": 4}
    parts = listing.parts
    assert (parts.schema.form, parts.schema.parts) == ("points", PARTS)
    assert parts.schema.mirrored == {f"left {name}": f"right {name}" for name in ("eye", "leg", "wing")}
    own = parts.points[parts.points["image_id"] == first]
    wanted = [(number, *point(1, number + 1)[:2]) for number in range(15) if number != 13]
    assert list(own[["part", "x", "y"]].itertuples(index=False, name=None)) == wanted
    assert list(parts.annotated) == list(listing.frame["path"])


def test_a_crop_is_the_box_and_its_points_move_along(root) -> None:
    told = []
    listing = listed(root, crop=True, on_event=told.append)
    first = "train/001.Black_footed_Albatross/Black_footed_Albatross_0000_1.png"
    assert (listing.frame["path"][0], listing.image_root) == (first, root.parent / "into")
    left, top, width, height = BOX
    with Image.open(root / "images" / CLASSES[0] / "Black_footed_Albatross_0000_1.jpg") as photo:
        wanted = photo.crop((left, top, left + width, top + height)).tobytes()
    with Image.open(listing.image_root / first) as crop:
        assert crop.tobytes() == wanted
    own = listing.parts.points.query("image_id == @first")
    beak = own[own["part"] == 1].iloc[0]
    assert (beak["x"], beak["y"]) == (point(1, 2)[0] - left, point(1, 2)[1] - top)
    assert 0 not in set(own["part"])  # the back lies outside the box
    assert [event.text for event in told if isinstance(event, MessageEvent)] == [
        "photos are cropped to the box of their bird (prepare.crop); 12 of 168 points lie outside of theirs"
    ]


def test_a_box_is_cut_to_its_photo(root) -> None:
    rewrite(root / "bounding_boxes.txt", "1 10.0 8.0 40.0 32.0", "1 -5.0 40.7 20.0 99.0")
    listing = listed(root, crop=True)
    with Image.open(listing.image_root / listing.frame["path"][0]) as crop:
        assert crop.size == (15, SIZE[1] - 40)


def test_a_photo_that_cannot_be_decoded_is_left_out_of_the_crops(root) -> None:
    broken = "images/002.Laysan_Albatross/Laysan_Albatross_0005_12.jpg"
    (root / broken).write_bytes(b"")
    listing = listed(root, crop=True)
    assert [(one.image_id, one.reason) for one in listing.rejected] == [(broken, "zero_bytes")]
    assert len(listing.frame) == len(listing.parts.annotated) == listing.parts.points["image_id"].nunique() == 11


def rewrite(file: Path, old: str, new: str) -> None:
    lines = file.read_text().splitlines()
    assert old in lines, "else nothing is changed"
    file.write_text("".join(f"{new if line == old else line}\n" for line in lines if line != old or new))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "image_class_labels.txt",
            "3 1",
            "",
            r"labels\.txt has no line for 1 image \(3\) of images\.txt; copy the whole",
        ),
        (
            "train_test_split.txt",
            "12 0",
            "13 0",
            r"train_test_split\.txt has no line for 1 image \(12\) of images\.txt",
        ),
        (
            "images.txt",
            "12 002.Laysan_Albatross/Laysan_Albatross_0005_12.jpg",
            "",
            r"image_class_labels\.txt has lines for 1 image \(12\) that images\.txt does not name; copy",
        ),
        ("image_class_labels.txt", "3 1", "3 7", r"labels\.txt names 1 class \(7\) that are not in classes\.txt"),
        (
            "images.txt",
            "1 001.Black_footed_Albatross/Black_footed_Albatross_0000_1.jpg",
            "1",
            r"images\.txt, line 1: exp",
        ),
        ("train_test_split.txt", "1 1", "1 2", r"split\.txt, line 1: expected a number and its value, got '1 2'; copy"),
        ("bounding_boxes.txt", "2 10.0 8.0 40.0 32.0", "2 10.0 8.0 40.0", r"boxes\.txt, line 2: expected a number and"),
        ("bounding_boxes.txt", "2 10.0 8.0 40.0 32.0", "2 nan 8.0 40.0 32.0", r"boxes\.txt, line 2: expected a number"),
        ("parts/part_locs.txt", "1 2 12.0 9.0 1", "1 2 inf 9.0 1", r"locs\.txt, line 2: expected image, part, x, y"),
        ("bounding_boxes.txt", "2 10.0 8.0 40.0 32.0", "2 10.0 8.0 0.0 32.0", r"boxes\.txt, line 2: expected a number"),
        (
            "classes.txt",
            "2 002.Laysan_Albatross",
            "1 002.Laysan_Albatross",
            r"classes\.txt, line 2: number 1 stands the",
        ),
        (
            "parts/part_locs.txt",
            "1 2 12.0 9.0 1",
            "",
            r"part_locs\.txt must have each of the 15 parts once, 1 image \(1\)",
        ),
        (
            "parts/part_locs.txt",
            "1 2 12.0 9.0 1",
            "1 3 12.0 9.0 1",
            r"of the 15 parts once, 1 image \(1\) has not; copy",
        ),
        ("parts/part_locs.txt", "1 2 12.0 9.0 1", "1 16 12.0 9.0 1", r"locs\.txt, line 2: expected image, part, x, y"),
        ("parts/part_locs.txt", "1 2 12.0 9.0 1", "99 2 12.0 9.0 1", r"locs\.txt has lines for 1 image \(99\) that"),
        ("parts/parts.txt", "15 throat", "", r"part_locs\.txt, line 15: expected image, part, x, y and 0 or 1"),
    ],
)
def test_files_that_contradict_each_other_are_one_line(file, old, new, message, root) -> None:
    rewrite(root / file, old, new)
    with pytest.raises(DataError, match=message) as caught:
        listed(root)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_photo_is_counted_and_named(root) -> None:
    for number in range(1, 6):
        next(root.glob(f"images/*/*_{number}.jpg")).unlink()
    message = r"lacks 5 files \(images/001.*_1\.jpg, images/001.*_2\.jpg, images/001.*_3\.jpg, \.\.\.\) of CUB-200-2011"
    with pytest.raises(DataError, match=message):
        listed(root)
    (root / "bounding_boxes.txt").unlink()
    with pytest.raises(
        DataError, match=r"lacks 1 file \(bounding_boxes\.txt\) of CUB-200-2011; copy the whole data set"
    ):
        listed(root)
    shutil.rmtree(root / "parts")
    with pytest.raises(
        DataError, match=r"lacks 3 files \(bounding_boxes\.txt, parts/parts\.txt, parts/part_locs\.txt\)"
    ):
        listed(root)


def test_a_root_that_is_one_folder_too_high_says_so(root) -> None:
    with pytest.raises(DataError, match=r"lacks 7 files .*; set prepare\.root to .*CUB_200_2011 \(params\.yaml\)"):
        listed(root.parent)
    with pytest.raises(DataError, match=r"must be the folder of CUB-200-2011; .*absent does not exist"):
        listed(root / "absent")


def test_a_box_outside_of_its_photo_is_refused(root) -> None:
    rewrite(root / "bounding_boxes.txt", "2 10.0 8.0 40.0 32.0", "2 70.0 8.0 40.0 32.0")
    with pytest.raises(
        DataError, match=r"boxes\.txt: the box of image 2 lies outside of its 60 x 48 pixels \(images/001"
    ):
        listed(root, crop=True)
