import os
from pathlib import Path

import pytest

from protoquant.data.folder_walk import files_below, visible, writable


@pytest.mark.parametrize(
    "name", [".git", ".a.png", "Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"]
)
def test_what_is_hidden_or_left_behind_does_not_count(name: str, tmp_path: Path) -> None:
    assert not visible(name)
    (tmp_path / "inner" / name).mkdir(parents=True)
    (tmp_path / "inner" / name / "a.png").touch()
    (tmp_path / "seen.txt").touch()
    assert list(files_below(tmp_path)) == [tmp_path / "seen.txt"]


def test_files_come_in_a_fixed_order_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a/z.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "again").symlink_to(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == [
        "c.png",
        "a/z.png",
        "b/10.png",
        "b/2.png",
    ]


def test_who_asks_hears_which_folder_cannot_be_opened(tmp_path: Path) -> None:
    heard: list[OSError] = []
    assert list(files_below(tmp_path / "gone", heard.append)) == []
    assert [error.filename for error in heard] == [str(tmp_path / "gone")]


def test_a_name_that_is_not_utf_8_is_escaped() -> None:
    assert writable(os.fsdecode(b"a\xff.png")) == r"a\udcff.png"
    assert writable("möwe.png") == "möwe.png"
