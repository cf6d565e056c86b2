"""Suggests trials to Ray Tune: the points of a plan, or what Optuna's TPE proposes from all known results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from ray.tune.search import Searcher

from protoquant.core.seeding import derive_seed
from protoquant.sweep.plan import SweepPlan
from protoquant.sweep.points import SearchPoint, decoded, distributions, encoded, quiet_study
from protoquant.sweep.records import TrialRecord
from protoquant.sweep.trial import MEASURE

_DIRECTIONS: Mapping[str, tuple[Literal["minimize", "maximize"], ...]] = {
    "accuracy": ("maximize",),
    "front": ("maximize", "minimize"),
}
_AGAIN = 20  # repeated proposals after which the space counts as exhausted


class Suggestions(Searcher):
    """Suggests each point once; points of ended trials are not tried again but count as known.

    A failed trial runs again, under its number, before anything new is tried.

    Args:
        plan: Plan of the sweep.
        records: Trials that ended or failed in earlier runs.
    """

    def __init__(self, plan: SweepPlan, records: Sequence[TrialRecord]) -> None:
        super().__init__(metric=MEASURE, mode="max")
        failed = [record for record in records if record.state == "failed"]
        ended = [record for record in records if record.state != "failed"]
        self._plan, self._asked = plan, {record.point.trial for record in ended}
        self._number = max((record.number for record in records), default=0)
        self._left = plan.trials - len(ended)
        self._waiting = [point for point in plan.points if point.trial not in self._asked]
        self._numbers = {point.trial: place for place, point in enumerate(plan.points, start=1)}
        self._open: dict[str, optuna.Trial] = {}
        self._study: optuna.Study | None = None
        self._space: dict[str, optuna.distributions.BaseDistribution] = {}
        if plan.config.search == "tpe":
            self._study, self._space = _study(plan, ended)
            self._numbers |= {record.point.trial: record.number for record in failed}
            for record in failed:
                self._study.enqueue_trial(encoded(record.point, plan.config))

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of a new trial to Ray Tune."""
        if self._study is None:
            if not self._waiting:
                return Searcher.FINISHED
            point = self._waiting.pop(0)
            return _configuration(point, self._numbers[point.trial])
        for _ in range(_AGAIN if self._left > 0 else 0):
            trial = self._study.ask(self._space)
            point = decoded(trial.params)
            if point.trial not in self._asked:
                self._asked.add(point.trial)
                self._open[trial_id] = trial
                self._left -= 1
                if point.trial not in self._numbers:
                    self._number += 1
                    self._numbers[point.trial] = self._number
                return _configuration(point, self._numbers[point.trial])
            # The sampler would repeat its proposal; an outcome that counts for nothing moves it on.
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002, FBT002
        """Tell the study the outcome of a trial."""
        trial = self._open.pop(trial_id, None)
        if self._study is None or trial is None:
            return
        numbers = json.loads((result or {}).get("answer") or "{}").get("numbers")
        values = _values(numbers, self._plan) if numbers else None
        state = optuna.trial.TrialState.COMPLETE if values else optuna.trial.TrialState.FAIL
        self._study.tell(trial, values, state=state)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep resumes from the records of its trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as in :meth:`save`."""


def point_of(configuration: Mapping[str, Any]) -> tuple[SearchPoint, int]:
    """Return the point and the number of a trial from its configuration."""
    return SearchPoint(json.loads(configuration["changes"])), int(configuration["number"])


def _configuration(point: SearchPoint, number: int) -> dict[str, Any]:
    return {"changes": json.dumps(dict(point.changes)), "number": number}


def _study(
    plan: SweepPlan, ended: Sequence[TrialRecord]
) -> tuple[optuna.Study, dict[str, optuna.distributions.BaseDistribution]]:
    """Create a study that knows the ended trials; after a resume it draws from another random stream."""
    seed = derive_seed(int(plan.params.get("seed", 0)), "sweep", len(ended)) % 2**32
    study = quiet_study(optuna.samplers.TPESampler(seed=seed), _DIRECTIONS[plan.config.objective])
    space = distributions(plan.config, plan.params)
    for record in ended:
        if record.state == "done":
            values = _values(record.numbers, plan)
            known = encoded(record.point, plan.config)
            study.add_trial(optuna.create_trial(params=known, distributions=space, values=values))
    return study, space


def _values(numbers: Mapping[str, Any], plan: SweepPlan) -> list[float]:
    both = [float(numbers[MEASURE]), float(numbers["class_size"])]
    return both[: len(_DIRECTIONS[plan.config.objective])]
