import os

import pytest

from protoquant.core.errors import DataError, UsageError
from protoquant.model.classifier import Model
from protoquant.model.folder import Bad, Opened, find_images, open_new, opened_ahead
from tests.builders.models import write_model
from tests.builders.pictures import small, write_pictures


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return Model.load(write_model(tmp_path_factory.mktemp("model"))).backbone


def test_images_are_listed_by_posix_name_and_the_rest_is_counted(tmp_path):
    for name in (
        "b/2.png",
        "b.png",
        "b/1.JPG",
        "a/deep/er/x.webp",
        "notes.txt",
        "a/table.csv",
        ".hidden.png",
        "a/.git/x.png",
        "Thumbs.db",
        "__MACOSX/x.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = find_images(tmp_path)
    assert found.names == ("a/deep/er/x.webp", "b.png", "b/1.JPG", "b/2.png")
    assert found.passed_over == 2


def test_what_holds_no_image_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"missing; give a folder of images"):
        find_images(tmp_path / "no")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"notes\.txt is no folder"):
        find_images(tmp_path / "notes.txt")
    with pytest.raises(DataError, match=r"holds no image \(1 other files\)"):
        find_images(tmp_path)


def test_what_cannot_be_opened_is_named_with_its_kind(tmp_path, backbone):
    small(0).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no\npicture")
    (tmp_path / "named.jpg").write_bytes(data)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    kinds = {
        "cut": "truncated",
        "empty": "zero_bytes",
        "text": "not_an_image",
        "gone": "missing",
        "pipe": "missing",
    }
    for name, kind in kinds.items():
        bad = open_new(tmp_path, f"{name}.png", backbone)
        assert isinstance(bad, Bad)
        assert bad.kind == kind
        assert str(bad).startswith(f"{kind}: ")
        assert "\n" not in str(bad)
        assert str(tmp_path) not in str(bad)
    assert open_new(tmp_path, "named.jpg", backbone).size == (64, 56)
    assert open_new(tmp_path, "a\udcff.png", backbone) == Bad(
        "a\\udcff.png", "bad_name", "has a name that is not UTF-8; rename it"
    )
    assert open_new(tmp_path, "whole.png", backbone).size == (64, 56)


def test_images_come_in_order_and_no_more_than_asked_for_are_in_flight(tmp_path, backbone):
    names = write_pictures(tmp_path, range(20))
    asked = 0

    def counted():
        nonlocal asked
        for name in names:
            asked += 1
            yield name

    with opened_ahead(tmp_path, counted(), backbone, workers=3, depth=4) as images:
        for taken, (name, image) in enumerate(zip(names, images, strict=True), start=1):
            assert isinstance(image, Opened)
            assert image.name == name
            assert asked <= taken + 4
    assert asked == 20
