"""Ray's session folder, which Ray opens to all, lies where others cannot enter."""

from pathlib import Path

import pytest

from infra.stack.errors import StackError
from infra.stack.place import loopback
from infra.stack.stack import _make_private


def test_the_session_is_inside_the_stack_or_has_a_short_name_of_its_own(tmp_path: Path) -> None:
    assert loopback(Path("/srv/stack"), offset=0, secret={}).session == "/srv/stack/ray/t"
    deep, other = (loopback(Path("/srv") / ("x" * 60) / name, offset=0, secret={}).session for name in "ab")
    assert deep != other
    for session in (deep, other):
        assert len(f"{session}/session_2026-11-29_17-03-34_653266_4194304/sockets/plasma_store") <= 104


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    _make_private(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    _make_private(tmp_path / "new")
    (tmp_path / "new").chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in ("new", "link"):
        with pytest.raises(StackError, match=f"{folder} must be a folder of yours that others cannot enter"):
            _make_private(tmp_path / folder)
