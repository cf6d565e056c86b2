"""The numbers and settings of two models side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from protoquant.analysis.diff.paired import Paired
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.calibration import error_of
from protoquant.evaluation.metrics.registry import METRICS, Better, Unit
from protoquant.model.bundle import Bundle
from protoquant.model.provenance import nearest_cosine


@dataclass(frozen=True)
class Number:
    """One number of two models.

    Attributes:
        name: Name of the number.
        unit: share (in [0, 1], shown in percent), count or number.
        before: Value of the first model; None where it has none.
        after: Value of the second model; None where it has none.
        low: Lower end of the 95 % interval of after - before; None where it is not measured on paired images.
        high: Upper end of that interval.
        better: Whether higher or lower is better; None where neither is.
    """

    name: str
    unit: Unit
    before: float | None
    after: float | None
    low: float | None = None
    high: float | None = None
    better: Better | None = None

    @property
    def change(self) -> float | None:
        """After - before; None where one is missing."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def clear(self) -> bool:
        """Whether the interval of the change excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high


@dataclass(frozen=True)
class Setting:
    """A params key whose value differs.

    Attributes:
        key: Dotted, such as ``train.joint.epochs``.
        before: Its value in the first model; None where that model has no such key, or its value is null.
        after: Its value in the second model, likewise.
    """

    key: str
    before: Any
    after: Any


def numbers_of(before: Bundle, after: Bundle, paired: Paired | None) -> tuple[Number, ...]:
    """List the numbers of two bundles.

    Args:
        before: The first model.
        after: The second.
        paired: The comparison on the same validation images; None where the two were chosen on different ones.
    """
    return (*_measured(before, after, paired), *_counted(before, after), *_seen(before, after))


def settings_of(before: Bundle, after: Bundle) -> tuple[Setting, ...]:
    """List the params keys that differ, in order; with the backbone, its weights and the preprocessing."""
    flat = [_flat({"backbone": bundle.backbone.to_dict(), **bundle.params}) for bundle in (before, after)]
    keys = sorted(flat[0].keys() | flat[1].keys())
    pairs = [Setting(key, flat[0].get(key), flat[1].get(key)) for key in keys]
    return tuple(pair for pair in pairs if pair.before != pair.after)


def measured_on_test(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[Number, ...]:
    """Pair metrics of test images that the caller gives by their path; they decide nothing."""
    return tuple(
        Number(metric.path, metric.unit, before.get(metric.path), after.get(metric.path), better=metric.better)
        for metric in METRICS
        if metric.path in before or metric.path in after
    )


def _measured(before: Bundle, after: Bundle, paired: Paired | None) -> list[Number]:
    named: tuple[tuple[str, Better], ...] = (("accuracy", "higher"), ("calibration error", "lower"))
    if paired is None:
        alone = zip(_alone(before), _alone(after), strict=True)
        return [
            Number(name, "share", one, other, better=better)
            for (name, better), (one, other) in zip(named, alone, strict=True)
        ]
    both = paired.accuracy, paired.calibration
    return [
        Number(name, "share", of.before, of.after, of.low, of.high, better)
        for (name, better), of in zip(named, both, strict=True)
    ]


def _alone(bundle: Bundle) -> tuple[float | None, float | None]:
    """Accuracy and calibration error of one model on its own validation images."""
    if bundle.reference is None:
        top1 = bundle.metrics.get("validation", {}).get("top1")
        return (None if top1 is None else float(top1)), None
    answers = bundle.reference.answers
    right = (answers["label"] == answers["predicted"]).to_numpy(dtype=np.float64)
    if not len(right):
        return None, None
    error = error_of(answers["probability"].to_numpy(), right, EvaluateConfig().bins)
    return float(right.mean()), float(error(np.arange(len(right))[None])[0])


def _counted(before: Bundle, after: Bundle) -> list[Number]:
    return [
        Number("classes", "count", float(len(before.classes)), float(len(after.classes))),
        Number("prototypes", "count", float(len(before.prototypes)), float(len(after.prototypes))),
        Number("prototypes per class", "number", _class_size(before), _class_size(after)),
        Number("temperature", "number", before.temperature, after.temperature),
        Number("cosine with nearest training patch", "number", _grounding(before), _grounding(after), better="higher"),
    ]


def _class_size(bundle: Bundle) -> float:
    return int((bundle.head > 0).sum()) / len(bundle.classes)


def _grounding(bundle: Bundle) -> float | None:
    """Mean cosine of the prototypes with their nearest training patches."""
    return nearest_cosine(bundle.provenance) if len(bundle.provenance) else None


def _seen(before: Bundle, after: Bundle) -> list[Number]:
    """Numbers of the finished models on their validation images."""
    health = [{} if bundle.reference is None else bundle.reference.codebook for bundle in (before, after)]

    def of(name: str, key: str, unit: Unit, better: Better | None) -> Number:
        held = [None if one.get(key) is None else float(one[key]) for one in health]
        return Number(name, unit, held[0], held[1], better=better)

    return [
        of("codes in use", "usage", "share", "higher"),
        of("perplexity of the codebook", "perplexity", "number", "higher"),
        of("quantisation error", "quantization_error", "number", "lower"),
        Number("evidence below which it abstains", "number", before.abstain_below, after.abstain_below),
        Number("validation images it abstains on", "share", _abstained(before), _abstained(after)),
    ]


def _abstained(bundle: Bundle) -> float | None:
    if bundle.reference is None or not len(bundle.reference.answers):
        return None
    if bundle.abstain_below is None:
        return 0.0
    return float((bundle.reference.answers["logit"] < bundle.abstain_below).mean())


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat
