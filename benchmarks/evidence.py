"""Measure what the prototypes of several recipes look at, with every metric group of `evaluate`, where parts are known.

Recipes: fast (the defaults), paper (presets/paper.yaml), kmeans and random (codes without any training together with
the head). Data: partbirds of 50 classes in each seed; photos whose part points are given; FunnyBirds with its
interventions. Photos share their split over the seeds, so only the first seed is measured there. Models are chosen on
validation; the test split is measured once.

A stopped run resumes: a model that is there is not trained again, and one that was measured is not measured again.

Run: python -m benchmarks.evidence [--photos FOLDER --photo-parts points.csv] [--funnybirds FOLDER] [--seeds 0 1 2]
     python -m benchmarks.evidence --quick       # a few small images: shows that all runs
Writes evidence.csv and evidence.md to docs; with --quick to the work folder.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.datasets import DataSet, Places, add_arguments, funnybirds, partbirds, photos, quick, tell
from benchmarks.recipes import CPU, codebook_of, sections_of
from protoquant.core.artifacts import open_artifact, read_json
from protoquant.core.errors import ArtifactError
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.evaluate import evaluate
from protoquant.evaluation.groups.registry import GROUPS
from protoquant.evaluation.metrics.registry import METRICS, Metric
from protoquant.head.train import train
from protoquant.prune.apply import prune_trained

RECIPES = ("fast", "paper", "kmeans", "random")
SHOWN = {"fast": "ours", "paper": "paper's recipe", "kmeans": "k-means codes", "random": "random codes"}
CONFIG = EvaluateConfig(metrics=tuple(GROUPS), misalignment_images=64, corruption_images=64)


def measured(data: DataSet, recipe: str, work: Path, config: EvaluateConfig, *, quick: bool) -> Mapping[str, Any]:
    """Train a model unless it is there, measure it unless that is done, and return the numbers."""
    space, name = data.workspace, f"{data.key}-{data.seed}-{recipe}"
    bundle, out = work / "models" / name, work / "evidence" / name
    inputs = {"images": space.images, "root": data.root, "features": space.features}
    coding, training = sections_of(recipe, quick=quick)
    codebook, _ = codebook_of(data, coding, work)
    if not _whole(bundle, "bundle"):
        train(
            training, **inputs, codebook=codebook, out=bundle, device=CPU, seed=data.seed, on_event=tell,
            prune=prune_trained,
        )  # fmt: skip
    if not _whole(out, "evaluation"):
        began = time.perf_counter()
        evaluate(
            config, **inputs, parts=space.parts, codebook=codebook, bundle=bundle, out=out,
            metrics=out.with_suffix(".json"), device=CPU, seed=data.seed, on_event=tell,
        )  # fmt: skip
        print(f"{name}: measured in {time.perf_counter() - began:.0f} s", flush=True)
    numbers: Mapping[str, Any] = read_json(out / "metrics.json")
    return numbers


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
    """Return the numbers as Markdown, one table for each data set: means over seeds, chance in brackets."""
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
    spread = f" ± {rows['value'].std(ddof=0):.{metric.digits}f}" if len(rows) > 1 else ""
    chance = f" ({rows['chance'].mean():.{metric.digits}f})" if rows["chance"].notna().any() else ""
    return f"{rows['value'].mean():.{metric.digits}f}{spread}{chance}"


def main() -> None:
    """Measure every recipe on every data set and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    places, config = Places.of(given), CONFIG
    if given.quick:
        config = replace_images(config, 2)
    sets = [quick(0, places)] if given.quick else [partbirds(seed, places) for seed in given.seeds]
    sets += [] if given.quick or not places.has_photos else [photos(given.seeds[0], places)]
    sets += [] if given.quick or not places.funnybirds else [funnybirds(given.seeds[0], places)]
    rows = [
        row
        for data in sets
        for recipe in given.recipes
        for row in rows_of(data, recipe, measured(data, recipe, given.work, config, quick=given.quick))
    ]
    frame = pd.DataFrame(rows)
    out = given.work if given.quick else Path(__file__).parents[1] / "docs"
    frame.to_csv(out / "evidence.csv", index=False, float_format="%.4f", lineterminator="\n")
    print(table(frame))


def replace_images(config: EvaluateConfig, count: int) -> EvaluateConfig:
    """The same groups on fewer images."""
    few = {"stability_images": count, "misalignment_images": count, "corruption_images": count}
    return config.model_copy(update=few)


if __name__ == "__main__":
    main()
