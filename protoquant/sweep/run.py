"""Runs a sweep on Ray Tune: trials are spread over the nodes, and each is recorded as soon as it ends."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.events import MessageEvent, OnEvent, ProgressEvent
from protoquant.core.machine.cores import warn_of_threads
from protoquant.core.workspace import Workspace
from protoquant.distributed.cluster import Cluster, joined
from protoquant.model.chosen_by import WORDS
from protoquant.settings.settings import Settings
from protoquant.sweep.plan import SweepPlan
from protoquant.sweep.records import SweepFolder, TrialRecord
from protoquant.sweep.trial import MEASURE, Job, run_trial

_DEATHS = 2  # restarts of a trial whose process or node died
_ASIDE = ".tune-"
_STOPPED = "ended early: among the weaker ones of its rung"
Ended = Callable[[TrialRecord], None]


def run_trials(
    plan: SweepPlan, folder: SweepFolder, workspace: Workspace, *, device: str, on_record: Ended, on_event: OnEvent
) -> None:
    """Run every trial that has no record yet, and those that failed; the caller holds the lease of the sweep's folder.

    Args:
        plan: Plan of the sweep.
        folder: The folder that receives the records.
        workspace: The workspace with the artifacts that trials read.
        device: Device, named as in ``PROTOQUANT_DEVICE``.
        on_record: Receives every record once it is written.
        on_event: Receives messages and progress.

    Raises:
        UsageError: No node has what a trial needs. UnavailableError: The cluster does not answer.
        ArtifactError: An input has changed since the sweep began.
    """
    plan.check_inputs(workspace)
    records = folder.records()
    ended = sum(record.state != "failed" for record in records)
    left = plan.trials - ended
    if left <= 0:
        return
    with joined() as cluster:
        cluster.require("sweep.cpus and sweep.gpus", cpus=plan.config.cpus, gpus=plan.config.gpus)
        if cluster.address == "local":
            warn_of_threads(Settings.parse(plan.params).threads, on_event)
        on_event(MessageEvent(_start_sentence(plan, left, cluster)))
        keeper = _Keeper(folder, plan, ended, on_record, on_event)
        _tune(plan, Job.prepare(plan, workspace, device), records, keeper, folder.root, left=left)


class _Keeper:
    """Records each trial when it ends."""

    def __init__(self, folder: SweepFolder, plan: SweepPlan, done: int, on_record: Ended, on_event: OnEvent) -> None:
        total = plan.trials
        self._folder, self._total, self._done, self._measure = folder, total, done, WORDS[plan.measure]
        self._on_record, self._on_event = on_record, on_event
        on_event(ProgressEvent("sweep", done, total, "trials"))

    def keep(self, record: TrialRecord) -> None:
        """Write the record and report it."""
        self._folder.write(record)
        self._done += 1
        self._on_event(MessageEvent(_trial_sentence(record, self._total, self._measure)))
        self._on_event(ProgressEvent("sweep", self._done, self._total, "trials"))
        self._on_record(record)


def _tune(plan: SweepPlan, job: Job, records: list[TrialRecord], keeper: _Keeper, sweep: Path, *, left: int) -> None:
    """Hand the trials to Ray Tune, whose own files lie in a temporary folder."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
    from ray.tune.search import ConcurrencyLimiter, Searcher

    from protoquant.sweep.suggest import Suggestions, point_of

    class Keep(tune.Callback):
        """Passes each ended trial on to the keeper."""

        def __reduce__(self) -> tuple[Any, tuple[()]]:
            # Ray pickles its set-up, to restore from it; sweeps resume from their records instead.
            return tune.Callback, ()

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
            keeper.keep(_record(trial, *point_of(trial.config)))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
            keeper.keep(_record(trial, *point_of(trial.config), died=True))

    early, at_once = plan.config.early_stopping, plan.config.at_once
    grace = 0 if early is None else 1 if plan.cross_fits else early.grace
    search: Searcher = Suggestions(plan, records)
    stopper = (
        FIFOScheduler()  # type: ignore[no-untyped-call]
        if early is None
        else ASHAScheduler(
            metric=MEASURE, mode="max", max_t=10**9, grace_period=grace, reduction_factor=early.reduction
        )
    )
    resources = {"cpu": plan.config.cpus, "gpu": plan.config.gpus}
    with _aside(sweep) as storage:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trainable, job=job), resources),
            tune_config=tune.TuneConfig(
                search_alg=search if at_once is None else ConcurrencyLimiter(search, max_concurrent=at_once),
                scheduler=stopper,
                num_samples=left,
                # Reuse spares the next trial the import of torch, but an actor does not let go of a trial stopped
                # early.
                reuse_actors=early is None,
            ),
            run_config=tune.RunConfig(
                name=plan.name,
                storage_path=str(storage),
                callbacks=[Keep()],
                failure_config=tune.FailureConfig(max_failures=_DEATHS),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except (RuntimeError, tune.TuneError) as error:
            reason = one_line(error)[:300]
            raise ProtoQuantError(
                f"Ray ended the sweep: {reason}; ended trials are kept, protoquant sweep resume {plan.name} goes on"
            ) from error


def _trainable(configuration: Mapping[str, Any], job: Job) -> None:
    """Run a trial; Ray calls this in a separate process."""
    from ray import tune

    from protoquant.sweep.suggest import point_of

    def tell(measure: float) -> None:
        if job.plan.config.early_stopping is not None:
            tune.report({MEASURE: measure})

    answer = run_trial(job, point_of(configuration)[0], tell)
    measure = answer["numbers"][MEASURE] if not answer["error"] else 0.0
    tune.report({MEASURE: measure, "answer": json.dumps(answer)})


def _record(trial: Any, point: Any, number: int, *, died: bool = False) -> TrialRecord:
    last = trial.last_result or {}
    answer = json.loads(last.get("answer") or "{}")
    if died:
        return TrialRecord(point, number, "failed", f"its process died {_DEATHS + 1} times", 0.0, {}, ())
    if not answer:
        return TrialRecord(point, number, "stopped", _STOPPED, float(last.get("time_total_s", 0.0)), {}, ())
    if answer["error"]:
        return TrialRecord(point, number, "failed", answer["error"], answer["seconds"], {}, ())
    return TrialRecord(point, number, "done", "", answer["seconds"], answer["numbers"], tuple(answer["path"]))


@contextmanager
def _aside(sweep: Path) -> Iterator[Path]:
    """Make a folder for Ray Tune's own files inside the sweep's folder, so that all nodes that share it see them."""
    for left in sweep.glob(f"{_ASIDE}*"):  # left by a killed process: the holder of the lease is alone here
        shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=sweep))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _start_sentence(plan: SweepPlan, left: int, cluster: Cluster) -> str:
    nodes = f"{len(cluster.nodes)} node{'s' if len(cluster.nodes) > 1 else ''}"
    room = int(cluster.total("CPU") // plan.config.cpus)
    at_once = min(room, plan.config.at_once or room, left)
    return f"sweep {plan.name}: {left} of {plan.trials} trials to run, {at_once} at once on {nodes}"


def _trial_sentence(record: TrialRecord, total: int, measure: str) -> str:
    start = f"trial {record.number} of {total}: {record.point.sentence()}"
    if record.state != "done":
        return f"{start}: {record.state}: {record.error}"
    numbers = record.numbers
    return (
        f"{start}: held-out {measure} {numbers[MEASURE]:.4f}, {numbers['class_size']:.1f} prototypes per class, "
        f"{record.seconds:.1f} s"
    )
