import errno
import os
from pathlib import Path

import pytest

from protoquant.core import files
from protoquant.core.files import sync, written_aside


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(file: Path) -> None:
    with written_aside(file, file.with_suffix(".new")) as aside:
        assert aside == file.with_suffix(".new")
        aside.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(file.parent) == ["file.txt"]


def test_a_file_that_was_not_there_comes_into_being(tmp_path: Path) -> None:
    with written_aside(tmp_path / "first", tmp_path / "aside") as aside:
        aside.write_bytes(b"1")
    assert names(tmp_path) == ["first"]


def test_the_file_has_the_permissions_that_it_was_given_aside(file: Path) -> None:
    with written_aside(file, file.with_suffix(".new")) as aside:
        aside.touch()
        aside.chmod(0o640)
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_file_alone(file: Path, error: type[BaseException]) -> None:
    def broken() -> None:
        with written_aside(file, file.with_suffix(".new")) as aside:
            aside.write_text("half")
            raise error

    with pytest.raises(error):
        broken()
    assert file.read_text() == "old"
    assert names(file.parent) == ["file.txt"]


def test_a_block_that_writes_nothing_is_an_error(file: Path) -> None:
    with pytest.raises(FileNotFoundError), written_aside(file, file.with_suffix(".new")):
        pass
    assert file.read_text() == "old"


def test_what_a_kill_left_is_overwritten(file: Path) -> None:
    file.with_suffix(".new").write_text("left by a killed process")
    with written_aside(file, file.with_suffix(".new")) as aside:
        aside.write_text("new")
    assert file.read_text() == "new"


def test_the_bytes_are_on_disk_before_the_file_has_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(files, "sync", lambda path: seen.append((path.read_text(), file.read_text())))
    with written_aside(file, file.with_suffix(".new")) as aside:
        aside.write_text("new")
    assert seen == [("new", "old")]


def test_a_disk_that_refuses_the_last_bytes_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), written_aside(file, file.with_suffix(".new")) as aside:
        aside.write_text("new")
    assert file.read_text() == "old"
    assert names(file.parent) == ["file.txt"]


def test_files_and_folders_are_synced_and_closed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((descriptor, os.fstat(descriptor).st_ino)))
    for path in (file, file.parent):
        sync(path)
    assert [inode for _, inode in seen] == [file.stat().st_ino, file.parent.stat().st_ino]
    for descriptor, _ in seen:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
