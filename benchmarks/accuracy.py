"""Compare the paper's recipe with ours at equal prototypes per class, on the same features, over three seeds.

Recipes: paper (presets/paper.yaml: codes and head by gradient, 60 epochs each, then the largest weights of each class,
fine-tuned), fast (the defaults), convex (the defaults without joint training), and the linear probe. Selection sees
validation alone; every finished model is measured on test once. Intervals are 95 % bootstrap intervals over the test
images of all seeds; the gap to the probe is paired by image. Times are CPU seconds of all threads from features to
model; codebook and dense head, which budgets share, are counted for each.

A stopped run goes on where it was: results are kept by the digest of values and features (not of the code).

Run: python -m benchmarks.accuracy [--photos FOLDER] [--seeds 0 1 2] [--budgets 5 10 20] [--threads 2]
Writes docs/accuracy.csv and docs/accuracy.png.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.datasets import DataSet, partbirds, photos
from benchmarks.recipes import Measured, measure
from protoquant.core.seeding import numpy_generator

RECIPES = ("probe", "convex", "fast", "paper")
RESAMPLES = 2_000
NAMES = {"paper": "paper's recipe", "fast": "ours (default)", "convex": "ours, without joint training"}
COLOURS = {"paper": "#d55e00", "fast": "#0072b2", "convex": "#56b4e9"}


@dataclass(frozen=True)
class Summary:
    """All seeds of one recipe at one budget.

    Attributes:
        data: Name of the data set.
        recipe: As in Measured.
        budget: Prototypes per class asked for.
        class_size: Mean prototypes per class.
        seeds: Number of seeds.
        n: Test images in all.
        top1: Mean accuracy on test.
        low: Lower end of its interval.
        high: Upper end.
        least: Accuracy of the worst seed.
        most: Of the best.
        gap: Accuracy minus the probe's.
        gap_low: Lower end of its paired interval.
        gap_high: Upper end.
        cpu: Mean CPU seconds.
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


def summarise(found: Sequence[Measured]) -> list[Summary]:
    """Put the seeds together.

    Args:
        found: Models of any data sets, recipes and budgets, the probe of each data set and seed among them.
    """
    rights = {(one.data, one.recipe, one.budget, one.seed): _bits(one.right) for one in found}
    rows = []
    for data, recipe, budget in dict.fromkeys((one.data, one.recipe, one.budget) for one in found):
        own = [one for one in found if (one.data, one.recipe, one.budget) == (data, recipe, budget)]
        right = np.concatenate([_bits(one.right) for one in own])
        gain = np.concatenate([_bits(one.right) - rights[data, "probe", 0, one.seed] for one in own])
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
            )
        )
    return rows


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean."""
    generator = numpy_generator(0, "benchmark accuracy")
    n = len(values)
    means = [values[generator.integers(0, n, n)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def table(rows: Sequence[Summary]) -> str:
    """The numbers as text."""
    widths = (13, 7, 6, 10, 25, 17, 23, 8, 6)
    titles = ("data", "recipe", "asked", "per class", "test top-1", "seeds", "points above probe", "CPU s", "ratio")
    ours = {(row.data, row.budget): row.cpu for row in rows if row.recipe == "fast"}
    lines = [titles]
    for row in rows:
        key = (row.data, row.budget)
        lines.append(
            (
                row.data,
                row.recipe,
                str(row.budget or ""),
                f"{row.class_size:.1f}" if row.budget else "",
                f"{row.top1:.4f} ({row.low:.4f} to {row.high:.4f})",
                f"{row.least:.4f} to {row.most:.4f}",
                f"{100 * row.gap:+.2f} ({100 * row.gap_low:+.2f} to {100 * row.gap_high:+.2f})",
                f"{row.cpu:.0f}",
                f"{row.cpu / ours[key]:.1f}" if key in ours else "",
            )
        )
    rule = "  ".join(f"{{:>{width}}}" for width in widths)
    return "\n".join(rule.format(*line) for line in lines)


def draw(rows: Sequence[Summary], path: Path) -> None:
    """Accuracy against prototypes per class, a panel for each data set."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(row.data for row in rows))
    figure, panels = plt.subplots(1, len(names), figsize=(5.6 * len(names), 4.4), squeeze=False, layout="constrained")
    for panel, name in zip(panels[0], names, strict=True):
        own = [row for row in rows if row.data == name]
        probe = next(row for row in own if row.recipe == "probe")
        panel.axhspan(100 * probe.low, 100 * probe.high, color="0.9", lw=0)
        panel.axhline(100 * probe.top1, color="0.35", ls="--", lw=1.3, label="linear probe (no explanation)")
        for recipe, label in NAMES.items():
            line = sorted((row for row in own if row.recipe == recipe), key=lambda row: row.class_size)
            if not line:
                continue
            middle = [100 * row.top1 for row in line]
            below = [100 * (row.top1 - row.low) for row in line]
            above = [100 * (row.high - row.top1) for row in line]
            panel.errorbar(
                [row.class_size for row in line],
                middle,
                yerr=[below, above],
                label=label,
                color=COLOURS[recipe],
                marker={"paper": "s", "fast": "o", "convex": "^"}[recipe],
                capsize=3,
                lw=1.8,
            )
        panel.set_xscale("log")
        ticks = sorted({row.budget for row in own if row.budget})
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.set_xlabel("prototypes per class (mean, logarithmic)")
        panel.set_ylabel("accuracy on test, %")
        panel.set_title(f"{name}: {probe.seeds} seeds, n = {probe.n:,} answers")
        panel.grid(visible=True, color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, loc="best", fontsize=9)
    figure.savefig(path, dpi=130)


def _bits(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - ord("0")


def sets(seeds: Sequence[int], folder: Path | None, work: Path) -> list[DataSet]:
    """The data sets asked for; photos only where there is a folder."""
    made = [partbirds(seed, work) for seed in seeds]
    if folder is None:
        print("no --photos given: partbirds alone")
        return made
    return made + [photos(folder.resolve(), seed, work) for seed in seeds]


def main() -> None:
    """Print the table, write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="class-named folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(".bench"), help="features, codebooks and results")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of table and figure")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found: list[Measured] = []
    recipes = ["probe", *(name for name in given.recipes if name != "probe")]
    jobs = [(data, recipe) for recipe in recipes for data in sets(given.seeds, given.photos, given.work)]
    for number, (data, recipe) in enumerate(jobs, start=1):
        began = time.perf_counter()
        found += measure(data, recipe, given.budgets, given.work)
        took = time.perf_counter() - began
        print(f"{number}/{len(jobs)} {data.name}, seed {data.seed}, {recipe}: {took:.0f} s", flush=True)
    rows = sorted(summarise(found), key=lambda row: (row.data, RECIPES.index(row.recipe), row.budget))
    print(table(rows))
    pd.DataFrame([vars(row) for row in rows]).round(5).to_csv(given.out / "accuracy.csv", index=False)
    draw(rows, given.out / "accuracy.png")


if __name__ == "__main__":
    main()
