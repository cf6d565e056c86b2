"""The points of a search space, each checked as params.yaml is before any work."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from protoquant.core.artifacts import digest_json
from protoquant.core.errors import ConfigError
from protoquant.core.seeding import derive_seed
from protoquant.settings.params_file import with_changes
from protoquant.settings.settings import Settings
from protoquant.settings.sweep_section import Range, SweepConfig

if TYPE_CHECKING:
    import optuna

SOURCE = "sweep.space"
_DRAWS = 20  # times the trials asked for; in a small space most draws are there already


@dataclass(frozen=True)
class SearchPoint:
    """One choice of all searched keys.

    Attributes:
        changes: Value by dotted key.
    """

    changes: Mapping[str, Any]

    @property
    def trial(self) -> str:
        """Names the trial by what it tries."""
        return digest_json(dict(self.changes))[:12]

    def settings(self, params: Mapping[str, Any]) -> Settings:
        """The settings of its trial.

        Args:
            params: Plain values of params.yaml.

        Raises:
            ConfigError: A value is impossible, alone or beside the others.
        """
        return Settings.parse(with_changes(params, self.changes, SOURCE), source=SOURCE)

    def sentence(self) -> str:
        """The choice in words."""
        return ", ".join(f"{key} {json.dumps(value)}" for key, value in self.changes.items())


def check_space(config: SweepConfig, params: Mapping[str, Any]) -> None:
    """Try every listed value and both ends of every range, one key at a time, and every combination of a grid.

    Raises:
        ConfigError: A key is unknown, or a value impossible.
    """
    if config.search == "grid":
        for point in grid_points(config):
            point.settings(params)
        return
    for key, values in config.space.items():
        tried = (values.low, values.high) if isinstance(values, Range) else values
        alone = [_reason(SearchPoint({key: value}), params) for value in tried]
        # A value may need another key beside it, which a draw then brings or not; one key's every value may not.
        if all(alone) or (isinstance(values, Range) and any(alone)):
            raise ConfigError(next(filter(None, alone)))


def grid_points(config: SweepConfig) -> list[SearchPoint]:
    """All combinations, the last key fastest; a combination that is written twice counts once."""
    keys = list(config.space)
    lists = [values for values in config.space.values() if not isinstance(values, Range)]
    points = [SearchPoint(dict(zip(keys, plain(values), strict=True))) for values in itertools.product(*lists)]
    return list({point.trial: point for point in points}.values())


def drawn_points(config: SweepConfig, params: Mapping[str, Any], seed: int) -> list[SearchPoint]:
    """As many possible points as the sweep has trials, all different, from the seed.

    Raises:
        ConfigError: The space has not as many possible points.
    """
    import optuna

    study = quiet_study(optuna.samplers.RandomSampler(seed=derive_seed(seed, "sweep") % 2**32), ["maximize"])
    space = distributions(config, params)
    wanted = config.trials or 1
    found: dict[str, SearchPoint] = {}
    reason = None
    for _ in range(wanted * _DRAWS):
        point = decoded(study.ask(space).params)
        reason = _reason(point, params) or reason
        if point.trial not in found and _reason(point, params) is None:
            found[point.trial] = point
        if len(found) == wanted:
            return list(found.values())
    why = f"; of the others the last was refused: {reason}" if reason else ""
    raise ConfigError(
        f"sweep.trials must be at most {len(found)}, what {SOURCE} holds, got {wanted} (params.yaml){why}"
    )


def distributions(config: SweepConfig, params: Mapping[str, Any]) -> dict[str, optuna.distributions.BaseDistribution]:
    """The space as Optuna takes it; listed values as JSON text, since they may be lists or mappings."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for key, values in config.space.items():
        if not isinstance(values, Range):
            found[key] = CategoricalDistribution(tuple(dict.fromkeys(json.dumps(value) for value in plain(values))))
        elif _whole(key, values, params):
            found[key] = IntDistribution(int(values.low), int(values.high), log=values.log)
        else:
            found[key] = FloatDistribution(float(values.low), float(values.high), log=values.log)
    return found


def decoded(values: Mapping[str, Any]) -> SearchPoint:
    """The point of what Optuna chose."""
    return SearchPoint({key: json.loads(value) if isinstance(value, str) else value for key, value in values.items()})


def encoded(point: SearchPoint, config: SweepConfig) -> dict[str, Any]:
    """A point as Optuna knows it."""
    return {
        key: value if isinstance(config.space[key], Range) else json.dumps(value)
        for key, value in point.changes.items()
    }


def quiet_study(
    sampler: optuna.samplers.BaseSampler, directions: Sequence[Literal["minimize", "maximize"]]
) -> optuna.Study:
    """A study in memory whose log tells warnings alone."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=sampler, directions=list(directions))


def plain(values: Sequence[Any]) -> list[Any]:
    """Values as JSON gives them: tuples, which sections make of lists, are lists again."""
    found: list[Any] = json.loads(json.dumps(list(values)))
    return found


def _whole(key: str, values: Range, params: Mapping[str, Any]) -> bool:
    """Whether the key takes whole numbers alone: then it refuses one between the ends that is not."""
    if not all(float(end).is_integer() for end in (values.low, values.high)):
        return False
    between = (values.low + values.high) / 2
    return _reason(SearchPoint({key: between + 0.25 if float(between).is_integer() else between}), params) is not None


def _reason(point: SearchPoint, params: Mapping[str, Any]) -> str | None:
    """Why a point is impossible; None where it is not."""
    try:
        point.settings(params)
    except ConfigError as error:
        return str(error)
    return None
