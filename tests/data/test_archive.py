"""Archives in an archive, read where they lie; archives of samples are tested with their reader."""

import io
import tarfile
from pathlib import Path

import pytest

from protoquant.core.errors import DataError
from protoquant.data.archive import contents, read_member


def packed(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return held.getvalue()


INNER = {"1.JPEG": b"one", "deep/2.JPEG": b"two" * 400}


@pytest.fixture
def outer(tmp_path: Path) -> Path:
    files = {"n01.tar": packed(INNER), "n02.tar": packed({"3.JPEG": b"three"}), "loose.txt": b"text"}
    (tmp_path / "all.tar").write_bytes(packed(files))
    return tmp_path / "all.tar"


def test_a_member_of_an_archive_in_an_archive_is_read(outer: Path) -> None:
    assert {name: read_member(outer / "n01.tar" / name) for name in INNER} == INNER
    assert read_member(outer / "n02.tar" / "3.JPEG") == b"three"
    assert read_member(outer / "loose.txt") == b"text"
    assert read_member(outer / "n01.tar") == packed(INNER), "an archive is a member too"
    assert sorted(path.name for path in outer.parent.iterdir()) == ["all.tar"], "nothing is unpacked"


@pytest.mark.parametrize("name", ["n01.tar/3.JPEG", "n03.tar/1.JPEG", "loose.txt/1.JPEG", "n01.tar/1.JPEG/x"])
def test_what_is_not_there_is_none(outer: Path, name: str) -> None:
    assert read_member(outer / name) is None


def test_archives_in_archives_are_listed(outer: Path) -> None:
    assert list(contents(outer).files) == ["n01.tar", "n02.tar", "loose.txt"]
    assert list(contents(outer / "n01.tar").files) == list(INNER)
    with pytest.raises(FileNotFoundError):
        contents(outer / "n03.tar")
    with pytest.raises(FileNotFoundError):
        contents(outer.parent / "none.tar")


def test_a_folder_that_is_named_like_an_archive_comes_first(tmp_path: Path) -> None:
    (tmp_path / "all.tar").write_bytes(packed({"n01.tar/1.JPEG": b"of a folder"}))
    assert read_member(tmp_path / "all.tar" / "n01.tar" / "1.JPEG") == b"of a folder"


def test_three_deep(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(packed({"x/b.tar": packed({"c.tar": packed({"1.JPEG": b"deep"})})}))
    assert read_member(tmp_path / "a.tar" / "x" / "b.tar" / "c.tar" / "1.JPEG") == b"deep"


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (b"no archive" * 100, r"all\.tar/n01\.tar cannot be read as a plain tar archive \(.*\); pack it again"),
        (packed(INNER)[:1024], r"all\.tar/n01\.tar ends early, after \d files \(1,024 bytes\); copy it again"),
    ],
)
def test_a_damaged_archive_in_an_archive_is_named(tmp_path: Path, inner: bytes, message: str) -> None:
    (tmp_path / "all.tar").write_bytes(packed({"n01.tar": inner, "n02.tar": packed({"3.JPEG": b"three"})}))
    with pytest.raises(DataError, match=message) as caught:
        read_member(tmp_path / "all.tar" / "n01.tar" / "deep" / "2.JPEG")
    assert "\n" not in str(caught.value)
    assert read_member(tmp_path / "all.tar" / "n02.tar" / "3.JPEG") == b"three"


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    data = bytearray(packed({"1.JPEG": b"one", "2.JPEG": b"two"}))
    data[1024] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tar cannot be read .* \(bad header after 1 file\); pack it again"):
        read_member(tmp_path / "a.tar" / "2.JPEG")


def test_a_changed_archive_is_listed_again(outer: Path) -> None:
    assert read_member(outer / "n02.tar" / "3.JPEG") == b"three"
    outer.write_bytes(packed({"n02.tar": packed({"4.JPEG": b"four", "5.JPEG": b"five"})}))
    assert read_member(outer / "n02.tar" / "3.JPEG") is None
    assert read_member(outer / "n02.tar" / "4.JPEG") == b"four"
