"""Gates that decide from numbers alone whether a version may become champion; this module reads and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from protoquant.evaluation.metrics.registry import by_path
from protoquant.model.chosen_by import BALANCED, WORDS, ChosenBy
from protoquant.tracking.promotion.config import GatesConfig

if TYPE_CHECKING:
    from protoquant.analysis.diff.paired import Difference, Paired

OFF = "off (params.yaml, gates)"
Answer = tuple[bool, str]
"""Whether a gate lets a version pass, and why."""
Rival = TypeVar("Rival", "GateEvidence", "Paired")
_ROUNDING = 1e-9
_KINDS = {"free": "of free codes", "mixture": "mixtures of train patches"}


@dataclass(frozen=True)
class Gate:
    """The answer of one gate about a version.

    Attributes:
        name: Name of the gate.
        passed: Whether the version may pass; None where params.yaml switches the gate off.
        said: The reason, in one line with the numbers.
    """

    name: str
    passed: bool | None
    said: str


@dataclass(frozen=True)
class GateEvidence:
    """The numbers of a version that the gates compare.

    Attributes:
        version: Its number.
        class_size: Prototypes per class, on average.
        grounding: Mean cosine of prototypes with their nearest train patch, in [-1, 1].
        dead_share: Share of codes that are nearest to no validation patch; None in older versions, which lack it.
        stability: Share of changed validation images whose answer stays; None in older versions, which lack it.
        test_accuracy: The tag of the version; it is shown, but no gate uses it.
        metrics: Metrics of validation by their path, as far as they were measured.
        codes: The kind of its prototypes: mixture or free.
        validation_known: Whether its backbone may have been trained on validation images.
        chosen_by: The accuracy that chose its head.
    """

    version: int
    class_size: float
    grounding: float
    dead_share: float | None
    stability: float | None
    test_accuracy: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    codes: Literal["free", "mixture"] = "free"
    validation_known: bool = False
    chosen_by: ChosenBy = "top1"


@dataclass(frozen=True)
class GateVerdict:
    """The verdict of all gates on a version.

    Attributes:
        version: The version.
        champion: The champion that it was compared with; None where there was none.
        gates: The answers of all gates, in order.
        beside: The test numbers, which no gate uses.
        forced: Why it became champion nevertheless; None where it was not forced.
    """

    version: int
    champion: int | None
    gates: tuple[Gate, ...]
    beside: str
    forced: str | None = None

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the gates that refuse."""
        return tuple(gate.name for gate in self.gates if gate.passed is False)

    @property
    def passed(self) -> bool:
        """Whether no gate refuses."""
        return not self.failed

    @property
    def word(self) -> str:
        """The verdict for a list: passed, refused or forced, and by which gates."""
        if self.passed:
            return "passed"
        return f"{'forced past' if self.forced else 'refused by'} {', '.join(self.failed)}"

    def with_force(self, reason: str | None) -> Self:
        """The same verdict, marked as forced if a reason is given and a gate refuses."""
        return self if reason is None or self.passed else replace(self, forced=reason)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "gates": [asdict(gate) for gate in self.gates]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave."""
        return cls(**{**plain, "gates": tuple(Gate(**gate) for gate in plain["gates"])})


def judge(
    config: GatesConfig,
    challenger: GateEvidence,
    champion: GateEvidence | str | None,
    *,
    compared: Paired | str | None,
    lock: Gate,
    export: Gate,
) -> GateVerdict:
    """Compare a version with the champion.

    A number may be worse by at most the limit of its gate, including the limit itself.

    Args:
        config: The limits of the gates.
        challenger: The version to be promoted.
        champion: The present champion; None where there is none; a text says why it cannot be read.
        compared: Champion and challenger on the same validation images; a text says why there is no comparison.
        lock: The answer of the gate on dvc.lock.
        export: The answer of the gate on the exported model.
    """
    alike = compared if isinstance(champion, GateEvidence) else champion
    gates = (
        lock,
        _ask("accuracy", config.accuracy_drop, alike, partial(_accuracy, challenger, champion)),
        _ask("calibration", config.calibration_rise, alike, _calibration),
        _ask("prototypes", config.class_size_rise, champion, partial(_prototypes, challenger)),
        _ask("codebook", config.dead_rise, champion, partial(_codebook, challenger)),
        _ask("grounding", config.grounding_drop, champion, partial(_grounding, challenger)),
        _ask("stability", config.stability_drop, champion, partial(_stability, challenger)),
        *(
            _ask(name, limit, champion, partial(_metric, name, challenger))
            for name, limit in (config.metrics or {}).items()
        ),
        export,
    )
    known = champion if isinstance(champion, GateEvidence) else None
    before = known.test_accuracy if known else None
    came = f"{before or 'unknown'} -> " if known else ""
    beside = f"test accuracy {came}{challenger.test_accuracy or 'unknown'} (decides nothing)"
    beside += _caveat(challenger, known)
    return GateVerdict(challenger.version, known.version if known else None, gates, beside)


def _caveat(challenger: GateEvidence, champion: GateEvidence | None) -> str:
    """Which versions' validation numbers may promise too much; empty if none do."""
    versions = [str(one.version) for one in (champion, challenger) if one is not None and one.validation_known]
    if not versions:
        return ""
    named = f"version{'s' * (len(versions) > 1)} {' and '.join(versions)}"
    return f"; the backbone of {named} may have seen validation images (extract.weights_trained_on)"


def _ask(name: str, limit: float | None, rival: Rival | str | None, decide: Callable[[float, Rival], Answer]) -> Gate:
    """Ask a gate that compares with the champion, if the gate is on and there is a champion that can be compared."""
    if limit is None:
        return Gate(name, None, OFF)
    if rival is None:
        return Gate(name, True, "no champion yet")
    return Gate(name, False, rival) if isinstance(rival, str) else Gate(name, *decide(limit, rival))


def _accuracy(challenger: GateEvidence, champion: GateEvidence | str | None, limit: float, compared: Paired) -> Answer:
    """Compare top-1 accuracy if it chose both versions, else balanced accuracy, which is known of both."""
    before = champion.chosen_by if isinstance(champion, GateEvidence) else challenger.chosen_by
    by_top1 = before == challenger.chosen_by == "top1"
    found = compared.accuracy if by_top1 else compared.balanced
    unlike = ""
    if before != challenger.chosen_by:
        unlike = f"; the champion was chosen by {WORDS[before]}, this version by {WORDS[challenger.chosen_by]}"
    name = "accuracy" if by_top1 else WORDS[BALANCED]
    said = (
        f"{name} {_moved(found)} on {compared.n:,} validation images, {compared.gained} gained, {compared.lost} "
        f"lost, McNemar p {compared.p_value:.2g}; at most {limit:.4f} may be lost{unlike}"
    )
    return found.change >= -limit - _ROUNDING, said


def _calibration(limit: float, compared: Paired) -> Answer:
    found = compared.calibration
    said = f"calibration error {_moved(found)} on the same images; at most {limit:.4f} may be added"
    return found.change <= limit + _ROUNDING, said


def _moved(found: Difference) -> str:
    return (
        f"{found.before:.4f} -> {found.after:.4f}, change {found.change:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
    )


def _prototypes(challenger: GateEvidence, limit: float, champion: GateEvidence) -> Answer:
    before, after = champion.class_size, challenger.class_size
    said = f"prototypes per class {before:.2f} -> {after:.2f}; at most {limit:.2f} may be added"
    return after - before <= limit + _ROUNDING, said


def _codebook(challenger: GateEvidence, limit: float, champion: GateEvidence) -> Answer:
    before, after = champion.dead_share, challenger.dead_share
    return _share("share of codes that no validation patch is nearest to", before, after, "added", limit)


def _grounding(challenger: GateEvidence, limit: float, champion: GateEvidence) -> Answer:
    if champion.codes != challenger.codes:
        was, now = (_KINDS[one.codes] for one in (champion, challenger))
        said = f"prototypes {was} -> {now}: cosines with train patches are not compared"
        return challenger.codes == "mixture", f"{said}; mixtures must stay mixtures"
    before, after = champion.grounding, challenger.grounding
    return _share("mean cosine of prototypes with their nearest train patch", before, after, "lost", limit)


def _stability(challenger: GateEvidence, limit: float, champion: GateEvidence) -> Answer:
    before, after = champion.stability, challenger.stability
    return _share("share of changed validation images with the same answer", before, after, "lost", limit)


def _metric(path: str, challenger: GateEvidence, limit: float, champion: GateEvidence) -> Answer:
    """Compare a metric of validation; one that either version lacks, because its data has no parts say, passes."""
    before, after = champion.metrics.get(path), challenger.metrics.get(path)
    metric = by_path(path)
    if before is None or after is None or metric is None:
        return True, f"{path} was not measured for {'this version' if after is None else 'the champion'}"
    return _share(metric.meaning, before, after, "lost" if metric.better == "higher" else "added", limit)


def _share(
    what: str, before: float | None, after: float | None, direction: Literal["added", "lost"], limit: float
) -> Answer:
    if after is None or before is None:
        whose = "this version" if after is None else "the champion"
        return (
            False,
            f"{what} was not measured for {whose}: run the pipeline again (dvc repro), which registers it anew",
        )
    worse = after - before if direction == "added" else before - after
    said = f"{what} {before:.4f} -> {after:.4f}; at most {limit:.4f} may be {direction}"
    return worse <= limit + _ROUNDING, said
