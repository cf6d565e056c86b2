"""The list of metrics that metrics.json, the report, the page of a run, MLflow and the gates all follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any, Literal

from protoquant.evaluation.groups.registry import GROUPS

Unit = Literal["share", "count", "number", "points"]
"""share: in [0, 1], shown in percent; points: a difference of two shares, shown in percentage points."""
Better = Literal["higher", "lower"]

STAGE = "evaluate"
"""Prefix of the names in MLflow."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        path: Dotted place among the numbers of ``evaluation/metrics.json``; an estimate with an interval is a mapping
            of ``value``, ``low``, ``high`` and ``n`` there.
        unit: Unit of its value.
        better: Whether higher or lower is better; None where neither is.
        meaning: Its meaning, as a phrase.
        headline: Its name in ``artifacts/metrics.json``; empty where it has none there.
        row: Its name in the report's table of numbers; empty where the report shows it elsewhere.
        digits: Decimal places of a number.
        source: Where the definition comes from; empty where the meaning says it all.
        chance: Place of the number that chance would give, such as that of random cells; empty where none is measured.
    """

    path: str
    unit: Unit
    better: Better | None
    meaning: str
    headline: str = ""
    row: str = ""
    digits: int = 2
    source: str = ""
    chance: str = ""

    def measured(self, numbers: Mapping[str, Any]) -> bool:
        """Whether nested numbers contain the metric."""
        found: Any = numbers
        for name in self.path.split("."):
            if name not in found:
                return False
            found = found[name]
        return True

    def of(self, numbers: Mapping[str, Any]) -> Any:
        """The value, or the estimate, of a metric that was measured; None where it is undefined."""
        return reduce(getitem, self.path.split("."), numbers)

    def value(self, numbers: Mapping[str, Any]) -> Any:
        """The value alone, without its interval."""
        found = self.of(numbers)
        return found["value"] if isinstance(found, Mapping) else found

    @property
    def group(self) -> str:
        """The first name of its path: for an optional metric, the group of ``evaluate.metrics`` that measures it."""
        return self.path.partition(".")[0]

    @property
    def tracked(self) -> str:
        """Its name in MLflow; for an estimate, the prefix of ``.value``, ``.low``, ``.high`` and ``.n``."""
        return f"{STAGE}.{self.path}"


TOP1 = Metric("test.top1", "share", "higher", "test images whose best class is the true one", headline="top1")
PROBE_TOP1 = Metric(
    "test.probe.top1", "share", "higher", "test images that the linear probe has right", headline="probe_top1"
)
CLASS_SIZE = Metric("size.class_size", "number", None, "non-zero weights per class", "class_size", "class_size")
GLOBAL_SIZE = Metric("size.global_size", "count", None, "prototypes of the model", "global_size", "global_size")
PREDICTION = Metric(
    "stability.prediction", "share", "higher", "changed images whose answer stays", headline="stable_prediction"
)

METRICS: tuple[Metric, ...] = (
    TOP1,
    Metric("test.top5", "share", "higher", "test images whose true class is among the five best", headline="top5"),
    Metric(
        "test.macro", "share", "higher", "balanced accuracy: mean over classes of the share of images that are right",
        headline="macro",
    ),
    Metric("test.ece", "share", "lower", "mean distance of confidence from accuracy", headline="ece"),
    PROBE_TOP1,
    Metric(
        "test.top1_minus_probe", "points", "higher",
        "percentage points between the model and the linear probe, paired over images", row="top1_minus_probe",
    ),
    Metric("test.probe.top5", "share", "higher", "of the linear probe", row="probe top-5"),
    Metric("test.probe.macro", "share", "higher", "of the linear probe", row="probe macro"),
    Metric(
        "test.ties", "count", "lower", "images whose largest class score belongs to more than one class", row="ties",
    ),
    Metric(
        "size.sparsity", "number", "higher", "share of head weights that are exactly zero",
        "sparsity", "sparsity", digits=4,
    ),
    Metric(
        "size.local_size", "number", "lower", "prototypes that speak for the predicted class, per image",
        "local_size", "local_size",
    ),
    Metric(
        "size.cover_size", "number", "lower", "fewest prototypes that carry the stated share of the score",
        row="cover_size",
    ),
    CLASS_SIZE,
    GLOBAL_SIZE,
    Metric("codebook.usage", "share", "higher", "share of codes that are nearest to some test patch", row="usage"),
    Metric(
        "codebook.perplexity", "number", "higher", "effective number of codes among test patches",
        row="perplexity", digits=1,
    ),
    Metric("codebook.dead_share", "share", "lower", "share of codes nearest to no test patch", row="dead_share"),
    Metric(
        "grounding.nearest_mean", "number", "higher", "mean cosine of a prototype with its nearest training patch",
        headline="nearest_patch",
    ),
    Metric(
        "grounding.near_share", "share", "higher", "share of prototypes with a training patch above a cosine of 0.9",
        row="near_share",
    ),
    Metric(
        "grounding.patches_mean", "number", "higher", "mean cosine of a prototype with the patches named for it",
        row="patches_mean",
    ),
    PREDICTION,
    Metric(
        "stability.top_prototype", "share", "higher",
        "changed images whose first prototype stays, without a tie",
        headline="stable_top_prototype",
    ),
    Metric("stability.top3", "share", "higher", "changed images whose three largest contributions stay", row="top3"),
    Metric("stability.cell", "share", "higher", "changed images whose first prototype stays in its cell", row="cell"),
    Metric(
        "codebook.quantization_error", "number", "lower", "mean of 1 - cosine with the nearest code",
        row="quantization_error", digits=4,
    ),
    Metric(
        "sizes.pq_local", "number", "lower", "weights of a class above 0.1",
        row="local size (ProtoQuant)", source="ProtoQuant",
    ),
    Metric(
        "sizes.pq_global", "count", "lower", "prototypes with a weight above 0.1",
        row="global size (ProtoQuant)", source="ProtoQuant",
    ),
    Metric(
        "sizes.pip_local", "number", "lower",
        "prototypes that add over 0.001 to the predicted class, presence under 0.1 dropped",
        row="local size (PIP-Net)", source="PIP-Net",
    ),
    Metric(
        "sizes.pip_local_all", "number", "lower",
        "prototypes that add over 0.001 to any class, presence under 0.1 dropped",
        row="local size, all classes (PIP-Net)", source="PIP-Net, per image",
    ),
    Metric(
        "sizes.pip_active", "number", "lower", "prototypes with a presence of at least 0.1 in an image",
        row="active prototypes (PIP-Net)", source="PIP-Net",
    ),
    Metric(
        "sizes.pip_global", "count", "lower", "prototypes with a weight above 0.001",
        row="global size (PIP-Net)", source="PIP-Net",
    ),
    Metric(
        "sizes.pip_sparsity", "number", "higher", "share of weights of at most 0.001",
        row="sparsity ratio (PIP-Net)", digits=4, source="PIP-Net",
    ),
    Metric(
        "sizes.clamped_top1", "share", "higher", "accuracy where presence under 0.1 counts as 0",
        row="clamped accuracy (PIP-Net)", source="PIP-Net",
    ),
    Metric(
        "deletion.deletion", "share", "lower",
        "probability of the answer, mean while its prototypes are removed, largest contribution first",
        row="deletion", source="Petsiuk et al. 2018, over prototypes",
    ),
    Metric(
        "deletion.deletion_gain", "points", "higher", "how much faster it falls than in a random order",
        row="deletion against random",
    ),
    Metric(
        "deletion.insertion", "share", "higher",
        "probability of the answer, mean while its prototypes are put back, largest contribution first",
        row="insertion", source="Petsiuk et al. 2018, over prototypes",
    ),
    Metric(
        "deletion.insertion_gain", "points", "higher", "how much faster it rises than in a random order",
        row="insertion against random",
    ),
    Metric(
        "topk.mask.area", "share", "higher",
        "accuracy with the k largest weights of each class, mean over ln k from 1 to 50", row="top-k",
    ),
    Metric(
        "topk.compact.area", "share", "higher", "the same where removed prototypes leave the softmax",
        row="top-k, compact",
    ),
    Metric(
        "misalignment.pgd.plc", "share", "lower",
        "how far a prototype's most active pixels move under an attack outside the region",
        row="PLC, pgd", source="Sacha et al. 2024",
    ),
    Metric(
        "misalignment.pgd.prc", "number", "lower",
        "prototypes of other classes that overtake it under an attack outside the region",
        row="PRC, pgd", source="Sacha et al. 2024",
    ),
    Metric(
        "misalignment.pgd.pac", "share", "lower",
        "share of its activation lost under an attack outside the region",
        row="PAC, pgd", source="Sacha et al. 2024",
    ),
    Metric(
        "misalignment.pgd.accuracy_change", "points", "lower",
        "accuracy lost under an attack outside the region",
        row="AC, pgd", source="Sacha et al. 2024",
    ),
    Metric(
        "misalignment.noise.plc", "share", "lower",
        "how far a prototype's most active pixels move under noise outside the region",
        row="PLC, noise", source="Sacha et al. 2024",
    ),
    Metric(
        "misalignment.noise.prc", "number", "lower",
        "prototypes of other classes that overtake it under noise outside the region",
        row="PRC, noise", source="Sacha et al. 2024",
    ),
    Metric(
        "misalignment.noise.pac", "share", "lower",
        "share of its activation lost under noise outside the region",
        row="PAC, noise", source="Sacha et al. 2024",
    ),
    Metric(
        "misalignment.noise.accuracy_change", "points", "lower",
        "accuracy lost under noise outside the region",
        row="AC, noise", source="Sacha et al. 2024",
    ),
    Metric(
        "corruptions.top1", "share", "higher", "accuracy, mean over seven corruptions in five severities",
        row="corrupted top-1", source="Hendrycks and Dietterich 2019",
    ),
    Metric(
        "corruptions.kept", "share", "higher", "corrupted images whose answer stays", row="answer under corruption",
    ),
    Metric(
        "corruptions.top_prototype", "share", "higher",
        "corrupted images whose first prototype stays, without a tie",
        row="first prototype under corruption",
    ),
    Metric(
        "corruptions.top3", "share", "higher", "corrupted images whose three largest contributions stay",
        row="top3 under corruption",
    ),
    Metric(
        "purity.fixed.mean", "share", "higher",
        "of the ten images where a prototype is most present, those whose box of a seventh of the view holds the "
        "same part",
        row="purity", source="PIP-Net", chance="purity.fixed.random_cells",
    ),
    Metric(
        "purity.fixed.min_count.mean", "share", "higher", "the same by parts visible in at least five of these images",
        row="purity, part in 5 images", source="PIP-Net, with a minimum count",
        chance="purity.fixed.min_count.random_cells",
    ),
    Metric(
        "purity.fixed.all.mean", "share", "higher", "the same on all images with a presence above a half",
        row="purity, all images", source="PIP-Net", chance="purity.fixed.all.random_cells",
    ),
    Metric(
        "purity.cell.mean", "share", "higher", "purity with the cell of the maximum alone as the box",
        row="purity, cell", chance="purity.cell.random_cells",
    ),
    Metric(
        "purity.whole.mean", "share", "higher", "purity in PIP-Net's own view, the whole image squashed",
        row="purity, whole image", source="PIP-Net", chance="purity.whole.random_cells",
    ),
    Metric(
        "purity.fixed.related", "count", "higher", "prototypes with a purity above a half",
        row="part-related prototypes", source="PIP-Net",
    ),
    Metric(
        "purity.fixed.filled", "share", "higher", "of the box, what the purest part fills (masks)", row="box filled",
    ),
    Metric(
        "purity.fixed.holding", "share", "higher",
        "of the ten boxes of a prototype, those that hold any annotated part",
        row="boxes with a part", chance="purity.fixed.holding_random",
    ),
    Metric(
        "evidence.cell.off", "share", "lower",
        "of all contributions to predicted classes, those from cells of which the object fills less than a tenth",
        row="evidence off the object", chance="evidence.cell.random_off",
    ),
    Metric(
        "evidence.fixed.off", "share", "lower", "the same with the box of a seventh of the view",
        row="evidence off the object, fixed box", chance="evidence.fixed.random_off",
    ),
    Metric(
        "evidence.cell.patches_off", "share", "lower",
        "named training patches of prototypes of which the object fills less than a tenth",
        row="patches off the object", chance="evidence.cell.random.patches_off",
    ),
    Metric(
        "evidence.fixed.patches_off", "share", "lower", "the same with the box of a seventh of the view",
        row="patches off the object, fixed box", chance="evidence.fixed.random.patches_off",
    ),
    Metric(
        "evidence.cell.prototypes_off", "share", "lower",
        "prototypes whose named patches the object fills by less than a tenth on average",
        row="prototypes off the object", chance="evidence.cell.random.prototypes_off",
    ),
    Metric(
        "evidence.cell.same_part", "share", "higher", "purity of the named training patches, cell as box",
        row="same part in the patches", chance="evidence.cell.random.same_part",
    ),
    Metric(
        "consistency.consistent", "share", "higher",
        "pairs of class and prototype whose region holds the same part in at least 80 % of the images",
        row="consistency", source="Huang et al. 2023", chance="consistency.random_cells",
    ),
    Metric(
        "consistency.stable", "share", "higher", "images in which noise leaves the parts of a prototype's region",
        row="stability of parts", source="Huang et al. 2023",
    ),
    Metric(
        "distinctness.alike", "share", "lower", "prototypes with another at a cosine above 0.9", row="near-duplicates",
    ),
    Metric(
        "distinctness.nearest_other", "number", "lower", "mean cosine of a prototype with the nearest other one",
        row="nearest other",
    ),
    Metric(
        "distinctness.sharing", "share", "lower", "prototypes that share more than half of their patches with another",
        row="shared patches",
    ),
    Metric(
        "funnybirds.background_independence", "share", "higher",
        "objects of the background that can be removed without lowering the true class by 5 %",
        row="background independence", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.synthetic_data_check", "share", "higher",
        "share of a sufficient set of parts that the explanation names, where the answer is right",
        row="CSDC", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.preservation_check", "share", "higher",
        "images whose answer stays when only the parts that its explanation names are kept",
        row="PC", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.deletion_check", "share", "higher",
        "images whose answer changes when the parts that its explanation names are removed",
        row="DC", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.distractibility", "share", "higher",
        "parts and objects without influence on the true class that its explanation leaves out",
        row="D", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.single_deletion", "share", "higher",
        "rank correlation of a part's evidence with what its removal takes, from -1 to 1 moved to 0 to 1",
        row="SD", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.target_sensitivity", "share", "higher",
        "parts that have more evidence for the class that shares them than for another",
        row="TS", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.completeness", "share", "higher",
        "mean of distractibility and of the mean of the three checks",
        row="completeness", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.mean", "share", "higher",
        "mean of completeness, single deletion and target sensitivity",
        row="FunnyBirds mean", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.map.fixed.mean", "share", "higher",
        "the same at a threshold of 0.1, where nothing is chosen on the test split",
        row="FunnyBirds mean, fixed", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.box.mean", "share", "higher",
        "the same with fixed boxes as explanation instead of maps",
        row="FunnyBirds mean, box", source="Hesse et al. 2023",
    ),
    Metric(
        "funnybirds.box.fixed.mean", "share", "higher",
        "the same with boxes, at a threshold of 0.1",
        row="FunnyBirds mean, box, fixed", source="Hesse et al. 2023",
    ),
)  # fmt: skip
"""All metrics, in the order of the report. A new metric needs a line here, and a number at its path in evaluate."""


def headline(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Pick the numbers that ``dvc metrics show`` has room for.

    Args:
        numbers: Nested numbers, as in ``evaluation/metrics.json``.

    Returns:
        About a dozen flat numbers; ``n``, ``top1_low`` and ``top1_high`` are those of top-1 accuracy. Metrics that
        were not measured are left out.
    """
    top1 = TOP1.of(numbers)
    shown = [metric for metric in METRICS if metric.headline and metric.measured(numbers)]
    values = {metric.headline: metric.value(numbers) for metric in shown}
    return values | {"n": top1["n"], "top1_low": top1["low"], "top1_high": top1["high"]}


def by_headline(name: str) -> Metric | None:
    """The metric that has a name in ``artifacts/metrics.json``."""
    return next((metric for metric in METRICS if metric.headline == name), None)


def by_path(path: str) -> Metric | None:
    """The metric at a place."""
    return next((metric for metric in METRICS if metric.path == path), None)


def of_tracked(tracked: Mapping[str, float], split: str = "test") -> dict[str, float]:
    """Pick the metrics of a split out of the numbers of an MLflow run.

    Args:
        tracked: Numbers by their name in MLflow.
        split: The split; what is measured on test alone has no other.

    Returns:
        Values by the metric's path, in the order of the list; only those that were measured.
    """
    above = STAGE if split == "test" else f"{STAGE}.{split}"
    names = {metric.path: f"{above}.{metric.path}" for metric in METRICS}
    found = {path: tracked.get(f"{name}.value", tracked.get(name)) for path, name in names.items()}
    return {path: value for path, value in found.items() if value is not None}


def is_tracked(name: str) -> bool:
    """Whether a number of the stage belongs into MLflow: of the optional groups, only the metrics of the list do.

    Args:
        name: Dotted place in ``evaluation/metrics.json``, such as ``validation.purity.fixed.mean.value``.
    """
    split, _, inner = name.partition(".")
    path = inner if split in ("train", "validation") else name
    if path.partition(".")[0] not in GROUPS:
        return True
    listed = {place for metric in METRICS for place in (metric.path, metric.chance) if place}
    return path in listed or path.rpartition(".")[0] in listed
