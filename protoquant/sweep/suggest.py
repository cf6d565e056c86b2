"""What Ray Tune tries next: the points of a plan, or what Optuna's TPE proposes after all that is known."""

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
_AGAIN = 20  # proposals that were tried already before the space counts as exhausted


class Suggestions(Searcher):
    """Each point once; those of ended trials are not tried again but count as known.

    Args:
        plan: What is searched.
        ended: Trials that have ended before.
    """

    def __init__(self, plan: SweepPlan, ended: Sequence[TrialRecord]) -> None:
        super().__init__(metric=MEASURE, mode="max")
        self._plan, self._asked = plan, {record.point.trial for record in ended}
        self._number = max((record.number for record in ended), default=0)
        self._left = plan.trials - len(ended)
        self._waiting = [point for point in plan.points if point.trial not in self._asked]
        self._numbers = {point.trial: place for place, point in enumerate(plan.points, start=1)}
        self._open: dict[str, optuna.Trial] = {}
        self._study: optuna.Study | None = None
        self._space: dict[str, optuna.distributions.BaseDistribution] = {}
        if plan.config.search == "tpe":
            self._study, self._space = _study(plan, ended)

    def suggest(self, trial_id: str) -> Any:
        """The configuration of a new trial, as Ray Tune asks for it."""
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
                self._number += 1
                return _configuration(point, self._number)
            # The sampler would propose what it has just proposed; an end that counts for nothing moves it on.
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002, FBT002
        """Tell the study what became of a trial."""
        trial = self._open.pop(trial_id, None)
        if self._study is None or trial is None:
            return
        numbers = json.loads((result or {}).get("answer") or "{}").get("numbers")
        values = _values(numbers, self._plan) if numbers else None
        state = optuna.trial.TrialState.COMPLETE if values else optuna.trial.TrialState.FAIL
        self._study.tell(trial, values, state=state)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep goes on from the records of its trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as for :meth:`save`."""


def point_of(configuration: Mapping[str, Any]) -> tuple[SearchPoint, int]:
    """The point and the number of a trial from its configuration."""
    return SearchPoint(json.loads(configuration["changes"])), int(configuration["number"])


def _configuration(point: SearchPoint, number: int) -> dict[str, Any]:
    return {"changes": json.dumps(dict(point.changes)), "number": number}


def _study(
    plan: SweepPlan, ended: Sequence[TrialRecord]
) -> tuple[optuna.Study, dict[str, optuna.distributions.BaseDistribution]]:
    """A study that knows the trials that have ended; after a resume it draws from another stream."""
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
