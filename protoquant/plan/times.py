"""Estimates how long each stage takes: the measured rates times the passes that the settings ask for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from protoquant.codebook.config import QuantizeConfig
from protoquant.head.config import TrainConfig
from protoquant.plan.calibration import Rates, Sections
from protoquant.plan.sizes import DatasetCounts, Shape

START = 5.0
"""Approximate seconds that a process takes to load torch and open its inputs."""

# Approximate steps of convex fits on the data sets of docs/benchmarks.md; the settings limit them.
_PROBE_STEPS, _DENSE_STEPS, _HEAD_STEPS = 60, 120, 50


@dataclass(frozen=True)
class StageTime:
    """Seconds that a stage takes in one process.

    Attributes:
        stage: Name of the stage.
        usual: With the usual number of steps of convex fits.
        most: With as many steps as the settings allow.
        made_of: The largest parts of ``usual``, in words.
    """

    stage: str
    usual: float
    most: float
    made_of: str

    def shared(self, processes: int) -> float:
        """Return the usual seconds if several processes share the work evenly, which is the best case."""
        return START + (self.usual - START) / processes

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def times_of(sections: Sections, counts: DatasetCounts, shape: Shape, rates: Rates) -> tuple[StageTime, ...]:
    """Estimate the times of extract, quantize and train."""
    images = counts.images + counts.train * sections.extract.views
    extract = {"images": (images * rates.extract,) * 2}
    return (
        _stage("extract", extract),
        _stage("quantize", _quantize(sections.quantize, sections.extract.views, counts, shape, rates)),
        _stage("train", _train(sections.train, counts, rates) | _choice(sections, counts, shape, rates)),
    )


Parts = dict[str, tuple[float, float]]
"""Usual and most seconds of the parts of a stage."""


def _quantize(config: QuantizeConfig, views: int, counts: DatasetCounts, shape: Shape, rates: Rates) -> Parts:
    step = rates.pooled * counts.train * len(config.probe_penalties)
    classes = counts.classes if config.seeding == "class_aware" else 1
    of_pass = rates.match * shape.t
    looked_at = config.epochs * counts.train * (1 + views) + 2 * counts.train + 3 * counts.validation
    return {
        "linear probe": (step * min(_PROBE_STEPS, config.probe_iterations), step * config.probe_iterations),
        "seeding": (rates.seeding * classes,) * 2,
        "passes over tokens": (of_pass * looked_at,) * 2,
    }


def _train(config: TrainConfig, counts: DatasetCounts, rates: Rates) -> Parts:
    temperatures = len(config.temperatures)
    times = 1 + (config.joint is not None) + (config.grounding != "centroid")
    fits = times if config.grounding != "centroid" else 1
    if config.gradient is not None:
        usual = most = float(len(config.gradient.penalties) * config.gradient.epochs)
    elif config.budget is not None:
        usual = _DENSE_STEPS + _HEAD_STEPS * len(config.budget.sizes)
        most = config.max_iterations * (1 + len(config.budget.sizes))
    else:
        usual, most = 2 * _HEAD_STEPS * config.points, 2 * config.max_iterations * config.points
    step = rates.solve * counts.train * temperatures * fits
    parts = {
        "scores": (rates.score * (counts.train + counts.validation) * times,) * 2,
        "heads": (step * min(usual, most), step * most),
    }
    if config.joint is not None:
        epoch = rates.joint * counts.train + rates.score / temperatures * counts.validation
        parts["joint training"] = (epoch * config.joint.epochs,) * 2
    return parts


def _choice(sections: Sections, counts: DatasetCounts, shape: Shape, rates: Rates) -> Parts:
    """Parts of train that cross-fitting adds: each fold is a quantize and a path on its share of the images."""
    config = sections.train
    if config.choice is None:
        return {}
    folds, images = config.choice.folds, counts.train + counts.validation
    fitting = images - images // folds
    fold = replace(counts, train=fitting, validation=images - fitting)
    path = _train(config.model_copy(update={"joint": None, "grounding": "centroid"}), fold, rates)
    once = [*_quantize(sections.quantize, sections.extract.views, fold, shape, rates).values(), *path.values()]
    usual, most = (folds * config.choice.repeats * sum(part[place] for part in once) for place in (0, 1))
    parts = {"cross-fitting": (usual, most)}
    if config.joint is not None:
        parts["joint training of a fold"] = _train(config, fold, rates)["joint training"]
    return parts


def _stage(name: str, parts: Parts) -> StageTime:
    usual, most = (START + sum(part[place] for part in parts.values()) for place in (0, 1))
    ordered = sorted(parts, key=lambda part: -parts[part][0])
    said = ", ".join(f"{part} {100 * parts[part][0] / max(usual, 1e-9):.0f} %" for part in ordered)
    return StageTime(name, usual, most, said)
