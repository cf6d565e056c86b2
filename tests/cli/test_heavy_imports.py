import atexit
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protoquant.cli import main
from protoquant.cli.heavy_imports import importing


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that nobody has imported yet."""
    (tmp_path / "seen_here_alone.py").write_text("made = [[] for _ in range(10)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "seen_here_alone"
    sys.modules.pop("seen_here_alone", None)
    gc.unfreeze()


def test_the_search_for_garbage_rests_and_what_has_come_is_left_out_of_it(module: str) -> None:
    before = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
        __import__(module)
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


def test_where_nothing_is_new_nothing_is_left_out() -> None:
    before = gc.get_freeze_count()
    with importing():
        import json  # noqa: F401
    assert gc.get_freeze_count() == before


def test_an_import_that_fails_leaves_the_search_on() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        import no_such_package  # noqa: F401
    assert gc.isenabled()


def test_a_search_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_ends_without_a_last_search(monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_end: list[object] = []
    monkeypatch.setattr(atexit, "register", at_the_end.append)
    monkeypatch.setattr(sys, "argv", ["protoquant", "--help"])
    with pytest.raises(SystemExit):
        main.main()
    assert gc.freeze in at_the_end
