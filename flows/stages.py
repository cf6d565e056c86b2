"""Runs a stage of the pipeline as a Prefect task, with its state, lines, progress and retries."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import State, Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows.slots import slot
from protoquant.core.events import from_record
from protoquant.pipeline.isolated_run import IsolatedRun
from protoquant.pipeline.process import OnLine
from protoquant.pipeline.stage import Outcome, Status, run_command

PASSING = "Unavailable"
"""Name of the state of a failure that may pass by itself: a server was away, or a lock was held."""
DELAYS = (5.0, 20.0, 60.0)
"""Seconds before each retry of such a failure."""


def stage_task(run: IsolatedRun, name: str) -> Task[[], State[Any]]:
    """Make the task of one stage of an open run.

    Its final state is named ``Ran``, ``Restored`` or ``Unchanged``, or is a failure whose message is the stage's own
    sentence. Only failures that can pass by themselves are retried. Prefect caches nothing: DVC knows what is up to
    date.
    """
    return _task(name, lambda on_line: run.stage(name, on_line), tags={slot()})


def record_task(run: IsolatedRun) -> Task[[], State[Any]]:
    """Make the task that keeps a run as a DVC experiment."""
    return _task("record", run.record)


def process_task(
    name: str, words: Sequence[str], root: Path, environment: Mapping[str, str], held: int
) -> Task[[], State[Any]]:
    """Make the task of a verb that is not a stage."""
    return _task(
        name,
        lambda on_line: run_command(words, root, environment=environment, on_line=on_line, hold=(held,)),
        tags={slot()},
    )


def _task(name: str, work: Callable[[OnLine], Outcome], tags: set[str] | None = None) -> Task[[], State[Any]]:
    @task(
        name=name,
        task_run_name=name,
        tags=tags,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(DELAYS),
        retry_delay_seconds=list(DELAYS),
        retry_condition_fn=_may_pass,
    )
    def stage() -> State[Any]:
        outcome = work(_RunReporter())
        if outcome.status is not Status.FAILED:
            return Completed(name=outcome.status.value.capitalize())
        return Failed(name=PASSING, message=outcome.reason) if outcome.passing else Failed(message=outcome.reason)

    return stage


def _may_pass(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    return state.name == PASSING


class _RunReporter:
    """Sends lines to the run's log and progress to the run's page."""

    def __init__(self) -> None:
        self._logger = get_run_logger()
        self._artifact: UUID | None = None

    def __call__(self, line: str) -> None:
        progress = from_record(line)
        if progress is None:
            self._logger.info("%s", line)
        else:
            percent = 100.0 * progress.done / max(1, progress.total)
            # A failure to report progress to the page is no reason to end the work.
            with suppress(Exception):
                self._tell(percent, f"{progress.label}, {progress.total:,} {progress.unit}")

    def _tell(self, percent: float, description: str) -> None:
        if self._artifact is None:
            artifact: Any = create_progress_artifact(percent, description=description)
            self._artifact = artifact
        else:
            update_progress_artifact(self._artifact, percent, description=description)
