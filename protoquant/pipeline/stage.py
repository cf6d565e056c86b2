"""Runs one stage of the pipeline through DVC as a process and returns its outcome."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from protoquant.core.errors import UnavailableError
from protoquant.core.events import from_record
from protoquant.pipeline.process import OnLine, run

_UNCHANGED = re.compile(r"(Stage )?'.+' didn't change, skipping")
_RESTORED = re.compile(r"Stage '.+' is cached - skipping run, checking out outputs")
_EXIT = re.compile(r"failed to run: .*, exited with (-?\d+)")
_BUSY = re.compile(r"Unable to acquire lock|is busy, it is being blocked")
_RECORD_GONE = re.compile(r"No such file or directory: '.*[/\\]runs[/\\].*\.tmp'")
_NO_CODE = re.compile(r"No such file or directory: '.*[/\\]artifacts[/\\]code[/\\]")
_ATTEMPTS = 3
_ERROR = re.compile(r"(?i:error): (?P<reason>.+)")
_SIGNAL, _DVC_FAILED = 128, 255
_CHATTER = re.compile(r"To track the changes|To enable auto staging|\s+(git add|dvc config) |Use `dvc push`|$")


class Status(StrEnum):
    """How a stage ended."""

    RAN = "ran"
    RESTORED = "restored"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a stage.

    Attributes:
        status: How it ended.
        reason: Why it failed, in one sentence; empty otherwise.
        passing: Whether the same call may work later, because a lock was held or a server was away.
    """

    status: Status
    reason: str = ""
    passing: bool = False


def run_command(
    words: Sequence[str], root: Path, *, environment: Mapping[str, str], on_line: OnLine, hold: Sequence[int] = ()
) -> Outcome:
    """Run a verb that is not a stage, and return its outcome as for a stage.

    Args:
        words: Words of the command.
        root: Folder that it runs in.
        environment: Environment of the process.
        on_line: Receives its lines.
        hold: As in :func:`protoquant.pipeline.process.run`.
    """
    if unfit := next((word for word in words if "\0" in word), None):
        return Outcome(Status.FAILED, f"{unfit!r} holds a NUL character, which no command takes; leave it out")
    listener = _OutputParser(on_line)
    code = run(words, cwd=root, environment=environment, on_line=listener, hold=hold)
    return listener.outcome(code)


def run_stage(
    root: Path, name: str, *, environment: Mapping[str, str], on_line: OnLine, hold: Sequence[int] = ()
) -> Outcome:
    """Let DVC run one stage, restore it from the cache, or leave it if nothing changed.

    Worktrees share DVC's run cache, whose records are read and written without a lock. When two runs meet there, one of
    them may fail because a file is gone; such a call is repeated.

    Args:
        root: The workspace.
        name: Name of the stage; those that it depends on must be up to date.
        environment: Environment of the process.
        on_line: Receives the stage's own lines and DVC's lines about the stage, including progress records
            (:func:`protoquant.core.events.from_record`) if the environment asks for them.
        hold: As in :func:`protoquant.pipeline.process.run`.
    """
    words = ["dvc", "--wait-for-lock", "repro", "--single-item", "--", name]
    for _ in range(_ATTEMPTS):
        outcome = run_command(words, root, environment=environment, on_line=on_line, hold=hold)
        if not _RECORD_GONE.search(outcome.reason):
            break
    if _NO_CODE.search(outcome.reason):
        reason = "artifacts/code is missing; run the stage that writes it first: dvc repro code"
        return replace(outcome, reason=reason)
    return outcome


class _OutputParser:
    """Passes lines on and remembers those that decide the outcome."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._status = Status.RAN
        self._stage_error = ""
        self._dvc_error = ""
        self._last = ""
        self._exit: int | None = None

    def __call__(self, line: str) -> None:
        if _CHATTER.match(line):
            return
        if from_record(line):
            self._on_line(line)
            return
        if _UNCHANGED.match(line):
            self._status = Status.UNCHANGED
        elif _RESTORED.match(line):
            self._status = Status.RESTORED
        self._last = line
        if error := _ERROR.match(line):
            if line.startswith("ERROR"):
                self._dvc_error = error["reason"]
            else:
                self._stage_error = error["reason"]
        if ended := _EXIT.search(line):
            self._exit = int(ended[1])
        self._on_line(line)

    def outcome(self, code: int) -> Outcome:
        if code == 0:
            return Outcome(self._status)
        reason = self._stage_error or self._dvc_error or self._last or "DVC said nothing"
        if _SIGNAL < code < _DVC_FAILED and not self._stage_error:
            reason = f"stopped by signal {code - _SIGNAL}"
        passing = UnavailableError.exit_code in (self._exit, code) or bool(_BUSY.search(self._dvc_error))
        return Outcome(Status.FAILED, reason, passing)
