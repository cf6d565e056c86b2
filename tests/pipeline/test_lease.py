"""The lease of a run's folder: whose it is, and how old."""

import os
import shutil
from pathlib import Path

import pytest

from protoquant.core.errors import UnavailableError
from protoquant.pipeline import lease as module
from protoquant.pipeline.lease import in_use, last_used, lease


def test_a_lease_is_held_by_one_and_free_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert not in_use(tmp_path)
    with lease(folder):
        assert in_use(folder)
        with pytest.raises(UnavailableError, match=r"run is in use by another process"), lease(folder, patience=0):
            pass
    assert not in_use(folder)
    with lease(folder, patience=0):
        pass


def test_a_folder_that_was_removed_while_its_lease_was_taken_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, locked, removed = tmp_path / "run", module._locked, []

    def lock_as_it_goes(descriptor: int) -> bool:
        if not removed:
            removed.append(folder)
            shutil.rmtree(folder)
        return locked(descriptor)

    monkeypatch.setattr(module, "_locked", lock_as_it_goes)
    with lease(folder):
        assert in_use(folder), "who comes next must meet this lease, not a file of the same name"


def test_a_run_was_last_used_when_it_was_taken_or_left(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    os.utime(folder, (500.0, 500.0))
    assert last_used(folder) == 500.0
    with lease(folder) as held:
        os.utime(held, (1000.0, 1000.0))
        assert last_used(folder) == 1000.0
    left = last_used(folder)
    assert left > 1000.0
    os.utime(folder, (500.0, 500.0))
    assert last_used(folder) == left
    os.utime(folder / "lease", (1000.0, 1000.0))
    with lease(folder):
        assert last_used(folder) > 1000.0
