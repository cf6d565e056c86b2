"""What is said of a published test split."""

from protoquant.core.events import MessageEvent
from protoquant.data.checks import Checked, ImageEntry
from protoquant.data.official.tests_kept import said_of_tests
from protoquant.data.quarantine import Reason, Rejected


def image(image_id: str, class_name: str, pixels: bytes) -> Checked:
    return Checked(ImageEntry(image_id, class_name, image_id.partition("/")[0]), "0" * 64, pixels, 10, 10)  # type: ignore[arg-type]


def test_twins_are_counted_and_stay() -> None:
    one = [image("test/a", "cat", b"1"), image("test/b", "cat", b"1"), image("train/c", "cat", b"2")]
    assert list(said_of_tests({"test/a", "test/b"}, one, [])) == [
        MessageEvent("2 test images have the pixels of another test image, under one label; all stay")
    ]
    two = [*one, image("test/d", "cat", b"3"), image("test/e", "dog", b"3"), image("test/f", "eel", b"3")]
    assert list(said_of_tests(set(), two, [])) == [
        MessageEvent("5 test images have the pixels of another test image, 3 of them under several labels; all stay")
    ]


def test_lost_test_images_are_a_warning() -> None:
    lost = [Rejected("test/a", Reason.TRUNCATED, "is cut"), Rejected("train/a", Reason.TRUNCATED, "is cut")]
    assert list(said_of_tests({"test/a", "test/b"}, [], lost)) == [
        MessageEvent(
            "1 of 2 published test images cannot be used (1 truncated, such as test/a); replace these files, or "
            "numbers of test are not comparable",
            "warning",
        )
    ]


def test_a_split_as_it_was_published_is_not_spoken_of() -> None:
    assert not list(said_of_tests({"test/a"}, [image("test/a", "cat", b"1"), image("train/b", "cat", b"1")], []))
