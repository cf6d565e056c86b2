"""Measure what the prototypes of several recipes look at, with every metric group of `evaluate`, where parts are known.

Recipes: before (the defaults that were, of the last layer alone), fast (the defaults), paper (presets/paper.yaml),
kmeans and random (codes without any training together with the head). Data: the embedded partbirds in each seed;
photos whose part points are given, and FunnyBirds with its interventions, which have one split and are measured with
the first seed. There the defaults are trained with every seed
too, and the last lines say how far the prototypes of two seeds agree. The groups that take seconds an image are
measured on 64 images of the defaults alone. Models are chosen on validation; the test split is measured once.

A stopped run resumes: a model that is there is not trained again, and one that was measured is not measured again. It
does not see that code or values have changed since: remove WORK/evidence, or WORK/models too, after such a change.

Run: python -m benchmarks.evidence [--photos FOLDER --photo-parts points.csv] [--funnybirds FOLDER] [--seeds 0 1 2]
     python -m benchmarks.evidence --quick       # a few small images: shows that all runs
Prints the tables and writes evidence.csv and evidence.png to docs; with --quick to the work folder.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.datasets import DataSet, Places, add_arguments, demo, funnybirds, photos, quick, tell
from benchmarks.evidence_chart import draw
from benchmarks.recipes import sections_of
from benchmarks.training import CPU, codebook_of
from protoquant.analysis.diff.agreement import agreement
from protoquant.core.artifacts import artifact_digest, open_artifact, read_json
from protoquant.core.errors import ArtifactError
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.evaluate import evaluate
from protoquant.evaluation.groups.registry import GROUPS
from protoquant.evaluation.metrics.registry import METRICS, Metric
from protoquant.head.train import train
from protoquant.model.bundle import Bundle
from protoquant.prune.apply import prune_trained

RECIPES = ("before", "fast", "paper", "kmeans", "random")
SHOWN = {
    "before": "ours, last layer alone",
    "fast": "ours",
    "paper": "paper, ImageNet values",
    "kmeans": "k-means codes",
    "random": "random codes",
}
SLOW = ("misalignment", "corruptions")
"""Groups that take seconds an image."""


def trained(data: DataSet, recipe: str, work: Path, *, quick: bool) -> tuple[Path, Path]:
    """Train a model unless it is there; return its codebook and its bundle."""
    space, bundle = data.workspace, work / "models" / f"{data.key}-{data.seed}-{recipe}"
    coding, training = sections_of(recipe, quick=quick)
    codebook, _ = codebook_of(data, coding, work)
    if not _whole(bundle, "bundle"):
        train(
            training, images=space.images, root=data.root, features=space.features, codebook=codebook, out=bundle,
            device=CPU, seed=data.seed, on_event=tell, prune=prune_trained,
        )  # fmt: skip
    return codebook, bundle


def measured(data: DataSet, recipe: str, work: Path, *, quick: bool) -> Mapping[str, Any]:
    """Measure a model unless that is done, and return the numbers."""
    codebook, bundle = trained(data, recipe, work, quick=quick)
    out, images = work / "evidence" / bundle.name, 2 if quick else 64
    groups = tuple(name for name in GROUPS if recipe == "fast" or name not in SLOW)
    counts = {"stability_images": images, "misalignment_images": images, "corruption_images": images}
    if not (_whole(out, "evaluation") and open_artifact(out, "evaluation").inputs["bundle"] == artifact_digest(bundle)):
        space, began = data.workspace, time.perf_counter()
        evaluate(
            EvaluateConfig(metrics=groups, **counts), images=space.images, root=data.root, parts=space.parts,
            features=space.features, codebook=codebook, bundle=bundle, out=out, metrics=out.with_suffix(".json"),
            device=CPU, seed=data.seed, on_event=tell,
        )  # fmt: skip
        print(f"{bundle.name}: measured in {time.perf_counter() - began:.0f} s", flush=True)
    numbers: Mapping[str, Any] = read_json(out / "metrics.json")
    return numbers


def agreements(data: Sequence[DataSet], work: Path, *, quick: bool) -> Iterator[str]:
    """Say how far the prototypes of two seeds agree, for each pair of seeds on the same images."""
    bundles = {each.seed: Bundle.open(trained(each, "fast", work, quick=quick)[1]) for each in data}
    for (one, first), (other, second) in combinations(bundles.items(), 2):
        if found := agreement(first, second):
            yield (
                f"{data[0].name}, seeds {one} and {other}: mean cosine of prototypes, matched, {found.mean:.3f} "
                f"(random codes {found.chance:.3f}), above 0.9 for {100 * found.alike:.1f} %"
            )


def _whole(folder: Path, kind: str) -> bool:
    try:
        return bool(open_artifact(folder, kind))
    except ArtifactError:
        return False


def rows_of(data: DataSet, recipe: str, numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each metric that was measured, with its number of items, interval and chance level."""
    for metric in METRICS:
        if not metric.measured(numbers) or metric.value(numbers) is None:
            continue
        found = metric.of(numbers)
        estimate = found if isinstance(found, Mapping) else {"value": found}
        chance = replace(metric, path=metric.chance).value(numbers) if metric.chance else None
        yield {
            "data": data.name,
            "seed": data.seed,
            "recipe": recipe,
            "metric": metric.path,
            **estimate,
            "chance": chance,
        }


def table(rows: pd.DataFrame) -> str:
    """Return the numbers as Markdown, one table for each data set: means and spread of seeds, chance in brackets."""
    text = []
    for data, own in rows.groupby("data", sort=False):
        recipes, seeds = list(dict.fromkeys(own["recipe"])), own["seed"].nunique()
        text += [f"### {data}, {seeds} seed{'s' * (seeds > 1)}", ""]
        text += ["| metric | " + " | ".join(SHOWN[name] for name in recipes) + " |", "|---|" + "---|" * len(recipes)]
        for path in dict.fromkeys(own["metric"]):
            metric = next(each for each in METRICS if each.path == path)
            cells = [_cell(metric, own[(own["metric"] == path) & (own["recipe"] == name)]) for name in recipes]
            text.append(f"| `{path}` {_ARROWS[metric.better]} | " + " | ".join(cells) + " |")
        text.append("")
    return "\n".join(text)


_ARROWS = {"higher": "↑", "lower": "↓", None: ""}


def _cell(metric: Metric, rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    digits = 0 if metric.unit == "count" else metric.digits
    spread = f" ± {rows['value'].std(ddof=0):.{digits}f}" if len(rows) > 1 else ""
    chance = f" ({rows['chance'].mean():.{digits}f})" if rows["chance"].notna().any() else ""
    return f"{rows['value'].mean():.{digits}f}{spread}{chance}"


def main() -> None:
    """Measure every recipe on every data set and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    places = Places.of(given)
    drawn = [quick(0, places)] if given.quick else [demo(seed, places) for seed in given.seeds]
    read = [
        [make(seed, places) for seed in given.seeds]
        for make, there in ((photos, places.has_photos), (funnybirds, places.funnybirds))
        if there and not given.quick
    ]
    rows = [
        row
        for data in [*drawn, *(seeds[0] for seeds in read)]
        for recipe in given.recipes
        for row in rows_of(data, recipe, measured(data, recipe, given.work, quick=given.quick))
    ]
    frame = pd.DataFrame(rows)
    out = given.work if given.quick else Path(__file__).parents[1] / "docs"
    frame.to_csv(out / "evidence.csv", index=False, float_format="%.4f", lineterminator="\n")
    draw(frame, SHOWN, out / "evidence.png")
    print(table(frame))
    for line in (line for seeds in read for line in agreements(seeds, given.work, quick=given.quick)):
        print(line)


if __name__ == "__main__":
    main()
