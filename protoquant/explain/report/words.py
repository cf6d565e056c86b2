"""The sentences and labels of the report, from its numbers."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import pandas as pd

from protoquant.data.table import EXCLUDED, of_excluded
from protoquant.evaluation.groups.registry import GROUPS
from protoquant.evaluation.metrics.registry import METRICS, Metric
from protoquant.explain.gallery import Gallery
from protoquant.explain.report.page import HeadlineNumber, NumberGroup, ReportNumber
from protoquant.explain.sources import Sources
from protoquant.model.answers_made import IN_SAMPLE, presence_made
from protoquant.pages import formatters
from protoquant.pages.formatters import MISSING, number, percent

Number = Mapping[str, Any]

PERTURBATIONS = {
    "jpeg75": "JPEG, quality 75",
    "jpeg50": "JPEG, quality 50",
    "blur": "blur",
    "shift": "shifted crop",
    "noise": "noise",
}
STABILITY_MEASURES = {
    "prediction": "same answer",
    "top_prototype": "same first prototype",
    "cell": "found in the same cell",
}
_HEADINGS = {"test": "Accuracy", "size": "Sizes", "codebook": "Codebook", "grounding": "Grounding"}
_GROUNDED = {
    "centroid": "Prototypes are means of many training patches",
    "medoid": "Every prototype is a training patch",
    "chosen": "Every prototype is a training patch",
    "mean": "Every prototype is the mean of a few training patches",
}


_MIXED = "Every prototype is a weighted mean of a few training patches"
_NEAREST = "the training patch nearest to the prototype"


def interval(found: Number, *, share: bool = True) -> str:
    """Write an interval, such as ``88.5 to 94.0 %``."""
    low, high = found["low"], found["high"]
    return formatters.interval(low, high) if share else f"{low:.1f} to {high:.1f}"


def summary(sources: Sources) -> str:
    """The report in two sentences."""
    test, size = sources.metrics["test"], sources.metrics["size"]
    top1, probe = test["top1"], test["probe"]["top1"]
    excluded = of_excluded(sources.prepared.get(EXCLUDED, {}))
    by_hand = f" {excluded[:1].upper()}{excluded[1:]}." if excluded else ""
    return (
        f"On {top1['n']:,} test images of {len(sources.bundle.classes)} classes the model is right in "
        f"{percent(top1['value'])} of cases ({interval(top1)}), and each answer is the sum of "
        f"{size['local_size']['value']:.1f} prototypes on average. A linear probe on the same features, which explains "
        f"nothing, reaches {percent(probe['value'])}.{by_hand}"
    )


def facts(sources: Sources) -> tuple[tuple[str, str], ...]:
    """The classes, images, backbone and prototypes that the report is about."""
    prepared = sources.prepared
    left_out = prepared["quarantined"]
    listed = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in sorted(left_out.items()))
    images = prepared["images"]
    known = "; may have seen validation images" if sources.bundle.backbone.weights.may_know_validation else ""
    return (
        ("Classes", f"{len(sources.bundle.classes):,}"),
        ("Images", " · ".join(f"{images[name]:,} {name}" for name in ("train", "validation", "test"))),
        ("Left out in quarantine", f"{sum(left_out.values()):,}" + (f" ({listed})" if listed else "")),
        ("Backbone", sources.bundle.backbone.name + known),
        ("Prototypes", f"{sources.metrics['size']['global_size']:,} of {sources.bundle.codebook.k:,} codes"),
    )


def headlines(sources: Sources) -> tuple[HeadlineNumber, ...]:
    """The large numbers at the top."""
    test, size = sources.metrics["test"], sources.metrics["size"]

    def share(name: str, found: Number, note: str) -> HeadlineNumber:
        band = (found["low"], found["value"], found["high"])
        return HeadlineNumber(name, percent(found["value"]), interval(found), note, band)

    ties = test["ties"]["value"]
    tied = f" {ties} image{'' if ties == 1 else 's'} without a unique best class." if ties else ""
    local, cover = size["local_size"], size["cover_size"]
    return (
        share("Top-1 accuracy", test["top1"], f"The best class is the true one.{tied}"),
        share("Linear probe", test["probe"]["top1"], "The yardstick: same features, no prototypes, no explanation."),
        share("Top-5 accuracy", test["top5"], "The true class is among the five best."),
        share("Balanced accuracy", test["macro"], "Every class counts the same."),
        HeadlineNumber(
            "Prototypes per class",
            number(size["class_size"], 1),
            f"{size['class_size_min']} to {size['class_size_max']} over classes",
            f"{percent(size['sparsity'])} of the head's weights are exactly zero.",
        ),
        HeadlineNumber(
            "Prototypes per answer",
            number(local["value"], 1),
            interval(local, share=False),
            f"{number(cover['value'], 1)} of them carry nine tenths of the score."
            if cover["value"] <= local["value"]
            else "Counted where they speak for the predicted class.",
        ),
        HeadlineNumber("Prototypes in all", f"{size['global_size']:,}", "", "Codes that at least one class uses."),
        share("Calibration error", test["ece"], "Mean distance of confidence from accuracy; 0 is best."),
    )


def path_note(sources: Sources) -> str:
    """The note on the sparsity chart."""
    return (
        "Heads from few prototypes to many, one curve for each temperature, each fitted on "
        f"{sources.prepared['images']['train']:,} training images and measured on "
        f"{sources.prepared['images']['validation']:,} validation images. The model is "
        f"{_chosen(sources.bundle.metrics)}{_refinement(sources.bundle.metrics)}. Heads with "
        "less than one prototype a class are not drawn."
    )


def _chosen(metrics: Mapping[str, Any]) -> str:
    """The rule that chose the head, and how well that head answers images that it was not fitted to, in words."""
    choice = metrics.get("choice")
    if choice is None:
        return "the sparsest head within the stated tolerance of the best"
    rules = {
        "one_se": "the smallest head whose log-loss is at most one standard error above the least",
        "tolerance": "the smallest head within the stated tolerance of the best accuracy",
    }
    more, points = ("more", choice["optimism"]) if choice["optimism"] >= 0 else ("less", -choice["optimism"])
    return (
        f"{rules[choice['rule']]}, where each of {choice['n']:,} training and validation images was answered by codes "
        f"and heads fitted without it ({choice['folds']} folds, {choice['repeats']} times): "
        f"{100 * choice['top1']:.1f} % right, and {100 * points:.1f} points {more} on validation"
    )


def _refinement(metrics: Mapping[str, Any]) -> str:
    """The refinement of the chosen head after its selection, in words."""
    done = [
        text
        for key, text in (("joint", "trained further together with its codes"), ("prune", "pruned"))
        if key in metrics
    ]
    refined = f", then {' and '.join(done)}" if done else ""
    if presence_made(metrics) != IN_SAMPLE:
        return refined
    return (
        f"{refined}; the same recipe was at last fitted on training and validation images together, and its point "
        "shows what it reaches on validation if fitted on training images alone"
    )


def selection(right: int, wrong: int) -> str:
    """The rule by which the explained images were chosen."""
    return (
        f"{right} test images that the model gets right and {wrong} that it gets wrong, chosen by rule, not by looks: "
        "evenly spaced from the most to the least confident."
    )


def beside(sources: Sources) -> str:
    """The training patch that an explanation puts beside a part."""
    mixed = sources.bundle.codes_are == "mixture"
    return "the training patch with the largest share in the prototype" if mixed else _NEAREST


def kind_note(sources: Sources) -> str:
    """What a prototype is, and what the training patches beside it are."""
    if sources.bundle.codes_are == "mixture":
        return (
            "A prototype is the direction of a weighted mean of a few training patches, each from another image, and "
            "nothing else; their shares are given with them."
        )
    return (
        "A training patch beside a prototype is its nearest one, not the prototype itself, which is a mean of many "
        "patches unless grounding says otherwise."
    )


def gallery_note(shown: Gallery, silent: int, *, mixed: bool) -> str:
    """The note on the gallery."""
    most = "" if shown.shown == shown.total else f" Shown are {shown.shown:,} of {shown.total:,}."
    without = (
        f" {silent} class{'' if silent == 1 else 'es'} shown with none: others weigh those prototypes more."
        if silent
        else ""
    )
    patches = (
        "Above are the training patches with the largest shares in it, cut out; below them the images they come from, "
        "and the shares (of patches that are only near it, the cosine similarity)"
        if mixed
        else "Above are the training patches nearest to it, cut out; below them the images they come from, and their "
        "cosine similarity"
    )
    return (
        f"A prototype is a code that the model uses. {patches}. Counted are the test images where it speaks for the "
        "answer, with its mean share of that score; shown are the one where it contributes most, one at random and the "
        "one where it contributes least, since the best alone would flatter it. Bars are its weights for the classes "
        f"that use it; it stands under the class with the largest.{most}{without}"
    )


def reliability_note(sources: Sources) -> str:
    """The note on the calibration chart."""
    ece = sources.metrics["test"]["ece"]
    return (
        "Test images grouped by confidence; a larger point means more images. On the dashed line confidence equals "
        f"accuracy; the mean distance from it, the expected calibration error, is {percent(ece['value'])} "
        f"({interval(ece)})."
    )


def stability_note(sources: Sources) -> str:
    """The note on the stability chart; empty where stability was not measured."""
    found = sources.metrics.get("stability")
    if found is None:
        return ""
    answer, first, change = (found[name] for name in ("prediction", "top_prototype", "presence_change"))
    return (
        f"{answer['n']:,} test images, each compressed, blurred, shifted a little and made noisy. On average the "
        f"answer stays in {percent(answer['value'])} of cases ({interval(answer)}) and the prototype that carries "
        f"most of it in {percent(first['value'])} ({interval(first)}); scores of the prototypes behind an answer "
        f"move by {number(change['value'], 3)}."
    )


def grounding_note(sources: Sources) -> str:
    """The note on the grounding chart."""
    found = sources.metrics["grounding"]
    method = sources.bundle.metrics.get("grounding", {}).get("method", "centroid")
    drift = found["drift_mean"]
    moved = "" if drift is None else f" Training left codes at a mean cosine of {number(drift)} to what they were."
    kind = _MIXED if sources.bundle.codes_are == "mixture" else _GROUNDED[method]
    return (
        f"{kind}. Counted is the cosine of each of the {found['prototypes']:,} prototypes with the "
        f"training patch nearest to it: {number(found['nearest_mean'])} on average, {number(found['nearest_min'])} at "
        f"the least.{moved}"
    )


def part(row: "pd.Series[Any]") -> str:
    """How often a prototype looks at the same part, from its row of purity.csv."""
    if not row["hits"]:
        return "no annotated part in its ten surest test images"
    return f"{row['part']} in {row['hits']:,} of its {row['n']:,} surest test images that show one"


def purity_note(sources: Sources) -> str:
    """The note on the purity chart; empty where purity was not measured."""
    found = sources.metrics.get("purity", {}).get("cell")
    if found is None or found["mean"] is None:
        return ""
    beside = sources.metrics.get("evidence", {}).get("cell")
    off = "" if beside is None else f" {percent(beside['off']['value'])} of all evidence lies beside the object."
    return (
        "For each prototype, the ten test images where it is surest: the share in which its cell holds the same "
        f"annotated part. On average {percent(found['mean']['value'])} ({interval(found['mean'])}); cells drawn at "
        f"random reach {percent(found['random_cells']['value'])}.{off}"
    )


def number_groups(sources: Sources) -> tuple[NumberGroup, ...]:
    """All numbers that are not headlines, as the registry groups them."""
    listed = [metric for metric in METRICS if metric.row and metric.measured(sources.metrics)]
    return tuple(
        NumberGroup(_HEADINGS.get(name) or _sentence(GROUPS[name].meaning), tuple(_row(sources, row) for row in rows))
        for name, rows in groupby(sorted(listed, key=_order), key=attrgetter("group"))
    )


def _order(metric: Metric) -> int:
    """Place of a metric's group; metrics of a group stay in the order of the registry."""
    return list(dict.fromkeys(each.group for each in METRICS)).index(metric.group)


def _row(sources: Sources, metric: Metric) -> ReportNumber:
    found, bounds = metric.of(sources.metrics), ""
    if isinstance(found, Mapping) and "low" in found:
        low, high = (_shown(metric, found[end]) for end in ("low", "high"))
        bounds = f"{low.removesuffix(' %')} to {high}"
    chance = ""
    if metric.chance:
        known = replace(metric, path=metric.chance).value(sources.metrics)
        chance = "" if known is None else _shown(metric, known)
    return ReportNumber(metric.row, _shown(metric, metric.value(sources.metrics)), bounds, chance, metric.meaning)


def _shown(metric: Metric, value: float | None) -> str:
    """Write a value; a dash where it is undefined."""
    if value is None:
        return MISSING
    match metric.unit:
        case "share":
            return percent(value)
        case "count":
            return f"{value:,}"
        case "points":
            return f"{100 * value:+.1f}"
        case _:
            return number(value, metric.digits)


def lineage(sources: Sources) -> tuple[tuple[str, str], ...]:
    """The inputs of the report, artifacts by their digests."""
    backbone = sources.bundle.backbone
    return (
        ("backbone", backbone.name),
        ("weights", f"{backbone.weights.source}, sha256 {backbone.weights.digest}"),
        *((name, f"sha256 {digest}") for name, digest in sources.digests.items()),
        ("temperature", f"{sources.bundle.temperature:g}"),
        ("feature_norm", sources.bundle.codebook.feature_norm),
        ("grid", " x ".join(map(str, sources.store.grid)) + " cells"),
    )


def _sentence(phrase: str) -> str:
    """The phrase with a capital letter, the other letters as they are."""
    return phrase[:1].upper() + phrase[1:]
