"""A step that two processes of Ray Train do together."""

from functools import partial
from pathlib import Path

import pytest

from protoquant.core.errors import DataError, ProtoQuantError, UsageError
from protoquant.core.events import Event, MessageEvent
from protoquant.core.runtime import Runtime
from protoquant.distributed import device_step
from protoquant.distributed.device_step import do_together
from tests.distributed.steps import step

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("two_processes")]


def text(event: Event) -> str:
    assert isinstance(event, MessageEvent)
    return event.text


def run(folder: Path, doing: str = "", processes: int = 2) -> tuple[tuple[int, float], list[str]]:
    told: list[str] = []
    runtime = Runtime(device="cpu", processes=processes)
    found = do_together(
        partial(step, folder, doing), runtime, 1, folder=folder / "notes", on_event=lambda e: told.append(text(e))
    )
    return found, told


def test_one_process_needs_no_ray(tmp_path: Path) -> None:
    assert run(tmp_path, processes=1) == ((1, 1.0), [f"{number}" for number in range(50)])


def test_a_process_that_dies_makes_all_begin_again(tmp_path: Path) -> None:
    found, told = run(tmp_path, "die once")
    assert found == (2, 3.0)
    joined = "2 processes on 1 node"
    assert told[:3] == [joined, "a process died; all begin this step again", joined]
    assert told[3:] == [f"{number}" for number in range(50)]  # of the first process alone, in their order
    assert list((tmp_path / "notes").iterdir()) == []


def test_what_one_process_raises_ends_all_with_that_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^a token holds NaN$"):
        run(tmp_path, "fail")


def test_an_error_that_is_not_ours_is_named_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_step, "_ATTEMPTS", 1)
    with pytest.raises(ProtoQuantError, match=r"1 times in a row; .* The last error: .*a defect of ours, or no memory"):
        run(tmp_path, "break")


def test_more_processes_than_there_is_room_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"PROTOQUANT_PROCESSES must be at most 2, .* got 5"):
        run(tmp_path, processes=5)
