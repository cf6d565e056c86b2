import pytest

from protoquant.core.errors import DataError
from protoquant.data.complete import few, require_files


def test_what_is_missing_is_counted_and_the_first_are_named(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("")
    require_files(tmp_path, ["a.txt"], "Birds")
    with pytest.raises(DataError, match=r"lacks 4 files \(b, c, d, \.\.\.\) of Birds; copy the whole data set again"):
        require_files(tmp_path, ["a.txt", "b", "c", "d", "e"], "Birds")
    with pytest.raises(
        DataError, match=r"must be the folder of Birds; .*a\.txt is a file \(params\.yaml\); correct it"
    ):
        require_files(tmp_path / "a.txt", ["b"], "Birds")


def test_one_is_not_many() -> None:
    assert few(["7"], "image", "images") == "1 image (7)"
    assert few(["7", "8"], "image", "images") == "2 images (7, 8)"
