import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from protoquant.data.checks import Checked, ImageEntry, check_image, check_images, set_apart
from protoquant.data.quarantine import Reason, Rejected

Photo = Callable[..., Image.Image]


def image(image_id: str, class_name: str, split: str | None, pixels: bytes) -> Checked:
    return Checked(ImageEntry(image_id, class_name, split), "0" * 64, pixels, 10, 10)  # type: ignore[arg-type]


def ids(images: list[Checked]) -> list[str]:
    return [one.entry.image_id for one in images]


def reasons(rejected: list[Rejected]) -> dict[str, str]:
    return {row.image_id: row.reason.value for row in rejected}


def test_an_image_is_measured_after_rotation(tmp_path: Path, photo: Photo) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    photo().save(tmp_path / "a.jpg", exif=exif)
    checked = check_image(ImageEntry("a.jpg", "x", None), tmp_path, 32)
    assert isinstance(checked, Checked)
    assert (checked.width, checked.height) == (40, 48)
    assert checked.digest == hashlib.sha256((tmp_path / "a.jpg").read_bytes()).hexdigest()


def test_the_same_pixels_in_another_format_have_the_same_digest(tmp_path: Path, photo: Photo) -> None:
    for name in ("a.png", "a.bmp"):
        photo().save(tmp_path / name)
    photo().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png")
    reshaped = Image.fromarray(np.asarray(photo()).reshape(48, 40, 3))
    reshaped.save(tmp_path / "reshaped.png")
    names = ["a.png", "a.bmp", "turned.png", "reshaped.png"]
    one, same, turned, other = (check_image(ImageEntry(name, "x", None), tmp_path, 1) for name in names)
    assert one.pixels == same.pixels
    assert one.digest != same.digest
    assert len({one.pixels, turned.pixels, other.pixels}) == 3


def test_a_small_image_is_rejected(tmp_path: Path, photo: Photo) -> None:
    photo().save(tmp_path / "a.png")
    assert isinstance(check_image(ImageEntry("a.png", "x", None), tmp_path, 40), Checked)
    rejected = check_image(ImageEntry("a.png", "x", None), tmp_path, 41)
    assert rejected == Rejected("a.png", Reason.TOO_SMALL, "has 48 x 40 pixels; prepare.min_side is 41")


def test_results_do_not_depend_on_workers(tmp_path: Path, photo: Photo) -> None:
    entries = [ImageEntry(f"{number}.png", "x", None) for number in range(25)]
    for number, entry in enumerate(entries):
        photo(number).save(tmp_path / entry.image_id)
    (tmp_path / "7.png").write_bytes(b"")
    alone = list(check_images(entries, tmp_path, 1, 1))
    assert list(check_images(entries, tmp_path, 1, 5)) == alone
    assert [type(one) for one in alone].count(Rejected) == 1


def test_images_are_taken_only_a_few_ahead(tmp_path: Path, photo: Photo) -> None:
    photo().save(tmp_path / "a.png")
    asked = 0
    lock = threading.Lock()

    def endless() -> Iterator[ImageEntry]:
        nonlocal asked
        while True:
            with lock:
                asked += 1
            yield ImageEntry("a.png", "x", None)

    results = check_images(endless(), tmp_path, 1, 2)
    for _ in range(20):
        next(results)
    assert asked < 20 + 12
    results.close()


@pytest.mark.parametrize("split", ["train", "test", None])
def test_of_duplicates_the_first_by_id_stays(split: str | None) -> None:
    kept, rejected = set_apart(
        [image(name, "x", split, b"1") for name in ("c", "a", "b")] + [image("d", "x", split, b"2")]
    )
    assert ids(kept) == ["a", "d"]
    assert reasons(rejected) == {"b": "duplicate", "c": "duplicate"}
    assert rejected[0].detail == "has the pixels of a; the first by name stays"


def test_the_copy_furthest_from_training_stays() -> None:
    kept, rejected = set_apart(
        [
            image("train/a", "x", "train", b"1"),
            image("validation/a", "x", "validation", b"1"),
            image("test/a", "x", "test", b"1"),
            image("train/b", "x", "train", b"2"),
            image("validation/b", "x", "validation", b"2"),
            image("train/c", "x", "train", b"3"),
        ]
    )
    assert ids(kept) == ["test/a", "train/c", "validation/b"]
    assert reasons(rejected) == {"train/a": "leak", "validation/a": "leak", "train/b": "leak"}
    assert rejected[-1].detail == "is in train and has the pixels of validation/b in validation, which stays"


def test_of_two_labels_in_one_split_neither_stays() -> None:
    kept, rejected = set_apart([image("a", "x", None, b"1"), image("b", "y", None, b"1"), image("c", "y", None, b"1")])
    assert kept == []
    assert reasons(rejected) == dict.fromkeys("abc", "conflicting_labels")
    assert rejected[0].detail == "is 'x' and has the pixels of b, which is 'y'; keep one"


def test_a_conflict_in_test_leaves_the_train_copy() -> None:
    images = [
        image("test/a", "x", "test", b"1"),
        image("test/b", "y", "test", b"1"),
        image("train/c", "x", "train", b"1"),
    ]
    kept, rejected = set_apart(images)
    assert ids(kept) == ["train/c"]
    assert reasons(rejected) == {"test/a": "conflicting_labels", "test/b": "conflicting_labels"}


@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(["train", "validation", "test"]), st.integers(0, 5))),
    st.randoms(use_true_random=False),
)
def test_every_image_is_kept_or_rejected_once_and_no_pixels_stay_twice(rows, shuffle) -> None:
    images = [image(f"{number:03d}", name, split, bytes([pixels])) for number, (name, split, pixels) in enumerate(rows)]
    kept, rejected = set_apart(images)
    assert sorted(ids(kept) + [row.image_id for row in rejected]) == ids(images)
    assert len({one.pixels for one in kept}) == len(kept)
    mixed = shuffle.sample(images, len(images))
    again, rejected_again = set_apart(mixed)
    assert again == kept
    assert sorted(rejected_again, key=str) == sorted(rejected, key=str)


def test_a_copy_that_leaves_for_one_of_another_label_is_a_label_conflict() -> None:
    kept, rejected = set_apart([image("a", "cat", "train", b"1"), image("b", "dog", "test", b"1")])
    assert ids(kept) == ["b"]
    assert rejected == [
        Rejected("a", Reason.CONFLICTING_LABELS, "is 'cat' and has the pixels of b, which is 'dog'; keep one")
    ]


def test_published_test_images_stay_and_their_copies_leave() -> None:
    images = [
        image("test/a", "cat", "test", b"1"),
        image("test/b", "cat", "test", b"1"),  # the same photo twice in test
        image("train/a", "cat", "train", b"1"),
        image("train/b", "dog", "train", b"1"),
        image("train/c", "cat", "train", b"1"),
        image("validation/a", "cat", "validation", b"1"),
    ]
    kept, rejected = set_apart(images, keep_tests=True)
    assert ids(kept) == ["test/a", "test/b"]
    assert rejected == [
        Rejected("train/a", Reason.LEAK, "is in train and has the pixels of test/a in test, which stays"),
        Rejected(
            "train/b", Reason.CONFLICTING_LABELS, "is 'dog' and has the pixels of test/a, which is 'cat'; keep one"
        ),
        Rejected("train/c", Reason.LEAK, "is in train and has the pixels of test/a in test, which stays"),
        Rejected("validation/a", Reason.LEAK, "is in validation and has the pixels of test/a in test, which stays"),
    ]


def test_published_test_images_of_two_labels_both_stay() -> None:
    images = [
        image("test/a", "cat", "test", b"1"),
        image("test/b", "dog", "test", b"1"),
        image("train/a", "dog", "train", b"1"),
        image("train/b", "eel", "train", b"1"),
    ]
    kept, rejected = set_apart(images, keep_tests=True)
    assert ids(kept) == ["test/a", "test/b"]
    assert [(one.image_id, one.reason, one.detail) for one in rejected] == [
        ("train/a", Reason.LEAK, "is in train and has the pixels of test/b in test, which stays"),
        (
            "train/b",
            Reason.CONFLICTING_LABELS,
            "is 'eel' and has the pixels of test/a, which is 'cat'; keep one",
        ),
    ]


def test_copies_beside_a_published_test_split_are_judged_as_ever() -> None:
    images = [
        image("train/a", "cat", "train", b"1"),
        image("train/b", "cat", "train", b"1"),
        image("train/c", "cat", "train", b"2"),
        image("train/d", "dog", "train", b"2"),
        image("validation/e", "cat", "validation", b"3"),
        image("train/e", "cat", "train", b"3"),
        image("test/f", "cat", "test", b"4"),
    ]
    assert set_apart(images, keep_tests=True) == set_apart(images)
    assert ids(set_apart(images, keep_tests=True)[0]) == ["test/f", "train/a", "validation/e"]


def test_a_published_test_image_may_be_small(tmp_path: Path, photo: Photo) -> None:
    entries = [ImageEntry(f"{split}.png", "x", split) for split in ("train", "test")]  # type: ignore[arg-type]
    for entry in entries:
        photo().save(tmp_path / entry.image_id)
    found = list(check_images(entries, tmp_path, 41, 1, keep_tests=True))
    assert [type(one) for one in found] == [Rejected, Checked]
    assert [type(one) for one in check_images(entries, tmp_path, 41, 1)] == [Rejected, Rejected]


@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(["train", "validation", "test"]), st.integers(0, 5))),
)
def test_every_published_test_image_stays_and_no_pixels_of_it_are_elsewhere(rows) -> None:
    images = [image(f"{number:03d}", name, split, bytes([pixels])) for number, (name, split, pixels) in enumerate(rows)]
    kept, rejected = set_apart(images, keep_tests=True)
    assert sorted(ids(kept) + [row.image_id for row in rejected]) == ids(images)
    tests = [one for one in images if one.entry.split == "test"]
    assert [one for one in kept if one.entry.split == "test"] == tests
    rest = [one.pixels for one in kept if one.entry.split != "test"]
    assert len(set(rest)) == len(rest)
    assert not set(rest) & {one.pixels for one in tests}
