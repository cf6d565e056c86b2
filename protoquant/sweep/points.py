"""Builds the points of a search space, and checks each as params.yaml is checked, before any work."""

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
_DRAWS = 20  # draws per wanted trial; in a small space most draws repeat an earlier one


@dataclass(frozen=True)
class SearchPoint:
    """One choice of all searched keys.

    Attributes:
        changes: Value by dotted key.
    """

    changes: Mapping[str, Any]

    @property
    def trial(self) -> str:
        """Id of the trial, made from its changes."""
        return digest_json(dict(self.changes))[:12]

    def settings(self, params: Mapping[str, Any]) -> Settings:
        """Return the settings of its trial.

        Args:
            params: Plain values of params.yaml.

        Raises:
            ConfigError: A value is impossible, alone or together with the others.
        """
        return Settings.parse(with_changes(params, self.changes, SOURCE), source=SOURCE)

    def sentence(self) -> str:
        """Return the choice in words."""
        return ", ".join(f"{key} {json.dumps(value)}" for key, value in self.changes.items())


def check_space(config: SweepConfig, params: Mapping[str, Any]) -> None:
    """Check every combination of a grid; otherwise every listed value and both ends of every range, key by key.

    Raises:
        ConfigError: A key is unknown, or a value is impossible.
    """
    if config.search == "grid":
        for point in grid_points(config):
            point.settings(params)
        return
    for key, values in config.space.items():
        tried = (values.low, values.high) if isinstance(values, Range) else values
        alone = [_reason(SearchPoint({key: value}), params) for value in tried]
        # One listed value may need another key, which a draw may bring; a key whose values all fail is refused.
        if all(alone) or (isinstance(values, Range) and any(alone)):
            raise ConfigError(next(filter(None, alone)))


def grid_points(config: SweepConfig) -> list[SearchPoint]:
    """Return all combinations, the last key varying fastest; repeated combinations count once."""
    keys = list(config.space)
    lists = [values for values in config.space.values() if not isinstance(values, Range)]
    points = [SearchPoint(dict(zip(keys, plain(values), strict=True))) for values in itertools.product(*lists)]
    return list({point.trial: point for point in points}.values())


def drawn_points(config: SweepConfig, params: Mapping[str, Any], seed: int) -> list[SearchPoint]:
    """Draw as many different possible points from the seed as the sweep has trials.

    Raises:
        ConfigError: Too few possible points were found in the space.
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
    """Return the space for Optuna; listed values become JSON text, since they may be lists or mappings."""
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
    """Return the point that Optuna chose."""
    return SearchPoint({key: json.loads(value) if isinstance(value, str) else value for key, value in values.items()})


def encoded(point: SearchPoint, config: SweepConfig) -> dict[str, Any]:
    """Return a point in Optuna's form."""
    return {
        key: value if isinstance(config.space[key], Range) else json.dumps(value)
        for key, value in point.changes.items()
    }


def quiet_study(
    sampler: optuna.samplers.BaseSampler, directions: Sequence[Literal["minimize", "maximize"]]
) -> optuna.Study:
    """Create an in-memory study that logs only warnings."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=sampler, directions=list(directions))


def plain(values: Sequence[Any]) -> list[Any]:
    """Return values in plain JSON types: tuples, which sections make from lists, become lists again."""
    found: list[Any] = json.loads(json.dumps(list(values)))
    return found


def _whole(key: str, values: Range, params: Mapping[str, Any]) -> bool:
    """Return whether a key takes only whole numbers: it then refuses a fraction between the ends."""
    if not all(float(end).is_integer() for end in (values.low, values.high)):
        return False
    between = (values.low + values.high) / 2
    return _reason(SearchPoint({key: between + 0.25 if float(between).is_integer() else between}), params) is not None


def _reason(point: SearchPoint, params: Mapping[str, Any]) -> str | None:
    """Return why a point is impossible; None if it is possible."""
    try:
        point.settings(params)
    except ConfigError as error:
        return str(error)
    return None
