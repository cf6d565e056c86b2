"""Compare our models with others on the same stored features: accuracy on test against prototypes per class.

Recipes: probe (linear), mean (nearest class mean), neighbours (k-NN): no prototypes. protopnet and pipnet: heads in the
style of these methods, a trained 1 x 1 linear map on the frozen tokens, 10 prototypes per class at the start. random
(codes drawn without a look at the data), kmeans (k-means over all train tokens) and convex (the default's class-aware
k-means): our head on codes as they are, of the last layer. before: the default of before, of the last layer alone,
with a choice on validation. fast: the default. paper: presets/paper.yaml (codes and head by gradient, 60
epochs each, then the largest weights of each class, fine-tuned).

Selection uses validation alone; every finished model is measured on test once. Intervals are 95 % bootstrap intervals
over the test images of all seeds; where seeds share their test images, an image counts once, with its mean over the
seeds. The gap to the probe is paired by image. Times are CPU seconds of all threads from features to model; codebook
and dense head, which budgets share, count in full for each.

A stopped run resumes where it was: results are kept by the digest of values and features (not of the code). Rows of the
table in --out that a run does not measure again stay in it.

Run: python -m benchmarks.accuracy [--photos FOLDER] [--funnybirds FOLDER] [--seeds 0 1 2] [--budgets 5 10 20]
     python -m benchmarks.accuracy --quick       # a few small images and two epochs: shows that all runs
Writes accuracy.csv and accuracy.png to docs; with --quick to the work folder.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.accuracy_chart import draw
from benchmarks.datasets import DataSet, Places, add_arguments, all_of, quick
from benchmarks.intervals import interval, of_images
from benchmarks.recipes import RECIPES, Measured, measure

TABLE = "accuracy.csv"
COLUMNS = {"data": 15, "recipe": 10, "asked": 6, "per class": 10, "n": 7, "test top-1": 25, "seeds": 20}
COLUMNS |= {"points above probe": 23, "CPU s": 8, "of codes": 8, "ratio": 6}
"""Titles of the printed table, with widths."""
KNOWN = 1.0
"""Longest time, in seconds, of a job whose results are there already."""


@dataclass(frozen=True)
class Summary:
    """All seeds of one recipe at one budget.

    Attributes:
        data: Name of the data set.
        recipe: As in Measured.
        budget: Prototypes per class asked for.
        class_size: Mean prototypes per class.
        seeds: Number of seeds.
        n: Test images in all; images that seeds share count once.
        top1: Mean accuracy on test.
        low: Lower end of its interval.
        high: Upper end.
        least: Accuracy of the worst seed.
        most: Accuracy of the best seed.
        gap: Accuracy minus the probe's.
        gap_low: Lower end of its paired interval.
        gap_high: Upper end.
        cpu: Mean CPU seconds.
        codes_cpu: Of these, the seconds for codebook and probe.
    """

    data: str
    recipe: str
    budget: int
    class_size: float
    seeds: int
    n: int
    top1: float
    low: float
    high: float
    least: float
    most: float
    gap: float
    gap_low: float
    gap_high: float
    cpu: float
    codes_cpu: float


def summarise(found: Sequence[Measured]) -> list[Summary]:
    """Combine the seeds.

    Args:
        found: Models of any data sets, recipes and budgets, the probe of each data set and seed among them.
    """
    rights = {(one.data, one.recipe, one.budget, one.seed): _bits(one.right) for one in found}
    rows = []
    for data, recipe, budget in dict.fromkeys((one.data, one.recipe, one.budget) for one in found):
        own = [one for one in found if (one.data, one.recipe, one.budget) == (data, recipe, budget)]
        images = [one.images for one in own]
        right = of_images([_bits(one.right) for one in own], images)
        gain = of_images([_bits(one.right) - rights[data, "probe", 0, one.seed] for one in own], images)
        accuracies = [one.test_top1 for one in own]
        sizes, cpus = [one.class_size for one in own], [one.cpu for one in own]
        rows.append(
            Summary(
                data,
                recipe,
                budget,
                float(np.mean(sizes)),
                len(own),
                len(right),
                float(right.mean()),
                *interval(right),
                min(accuracies),
                max(accuracies),
                float(gain.mean()),
                *interval(gain),
                float(np.mean(cpus)),
                float(np.mean([one.codes_cpu for one in own])),
            )
        )
    return rows


def table(rows: Sequence[Summary]) -> str:
    """Return the numbers as text."""
    ours = {(row.data, row.budget): row.cpu for row in rows if row.recipe == "fast"}
    lines = [tuple(COLUMNS)]
    for row in rows:
        key = (row.data, row.budget)
        lines.append(
            (
                row.data,
                row.recipe,
                str(row.budget or ""),
                f"{row.class_size:.1f}" if row.class_size else "",
                f"{row.n:,}",
                f"{row.top1:.4f} ({row.low:.4f} to {row.high:.4f})",
                f"{row.seeds}: {row.least:.4f} to {row.most:.4f}",
                f"{100 * row.gap:+.2f} ({100 * row.gap_low:+.2f} to {100 * row.gap_high:+.2f})",
                f"{row.cpu:.0f}",
                f"{row.codes_cpu:.0f}",
                f"{row.cpu / ours[key]:.1f}" if key in ours else "",
            )
        )
    rule = "  ".join(f"{{:>{width}}}" for width in COLUMNS.values())
    return "\n".join(rule.format(*line) for line in lines)


def _bits(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - ord("0")


def together(measured: Sequence[Summary], out: Path) -> list[Summary]:
    """Add the rows of an earlier table that were not measured again, and sort.

    Args:
        measured: The new rows.
        out: Folder of the table; it is created.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = {(row.data, row.recipe, row.budget): row for row in measured}
    if (out / TABLE).is_file():
        for values in pd.read_csv(out / TABLE).to_dict("records"):
            row = Summary(**values)
            rows.setdefault((row.data, row.recipe, row.budget), row)
    order = list(RECIPES)
    return sorted(rows.values(), key=lambda row: (row.data, order.index(row.recipe), row.budget))


def minutes_left(done: Sequence[tuple[str, float]], left: Sequence[str]) -> float:
    """Estimate the minutes that the remaining jobs will take.

    Args:
        done: Recipe and seconds of every job that did not come from an earlier run.
        left: Recipes of the remaining jobs.
    """
    if not done:
        return 0.0
    seconds = [took for _, took in done]
    typical = {name: np.mean([took for other, took in done if other == name]) for name in {name for name, _ in done}}
    return float(sum(typical.get(name, np.mean(seconds)) for name in left)) / 60


def run(data: Sequence[DataSet], recipes: Sequence[str], given: argparse.Namespace) -> list[Measured]:
    """Measure every recipe on every data set, and print the progress after each."""
    jobs, timed, found = [(recipe, one) for recipe in recipes for one in data], [], []
    for number, (recipe, one) in enumerate(jobs, start=1):
        began = time.perf_counter()
        found += measure(one, recipe, given.budgets, given.work, quick=given.quick)
        took = time.perf_counter() - began
        if took > KNOWN:
            timed.append((recipe, took))
        left = minutes_left(timed, [name for name, _ in jobs[number:]])
        known = f"{took:.0f} s" if took > KNOWN else "known from before"
        print(
            f"{number}/{len(jobs)} {one.name}, seed {one.seed}, {recipe}: {known}; about {left:.0f} min left",
            flush=True,
        )
    return found


def main() -> None:
    """Print the table, and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of table and figure")
    parser.add_argument(
        "--quick", action="store_true", help="see that all runs: one small data set, 1 and 2 prototypes per class"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    places, out = Places.of(given), given.work / "quick" if given.quick else given.out
    given.budgets = [1, 2] if given.quick else given.budgets
    data = [quick(seed, places) for seed in given.seeds[:1]] if given.quick else all_of(given.seeds, places)
    rows = together(summarise(run(data, [name for name in RECIPES if name in {"probe", *given.recipes}], given)), out)
    print(table(rows))
    if not places.has_photos:
        print("photos: not measured, since neither --photos FOLDER nor --reuse photos=FOLDER was given")
    if places.funnybirds is None:
        print("FunnyBirds: not measured, since --funnybirds FOLDER was not given")
    pd.DataFrame([vars(row) for row in rows]).round(5).to_csv(out / TABLE, index=False)
    draw(rows, out / "accuracy.png")


if __name__ == "__main__":
    main()
