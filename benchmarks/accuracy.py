"""Compare the paper's recipe with ours at equal prototypes per class, on the same features, over three seeds.

Recipes: paper (presets/paper.yaml: codes and head by gradient, 60 epochs each, then the largest weights of each class,
fine-tuned), fast (the defaults), convex (the defaults without joint training), and the linear probe. Selection uses
validation alone; every finished model is measured on test once. Intervals are 95 % bootstrap intervals over the test
images, of all seeds; where seeds share their test images (photos), an image counts once, with its mean over the seeds.
The gap to the probe is paired by image. The lowest and highest accuracy of the seeds are shown beside it. Times are
CPU seconds of all threads from features to model; codebook and dense head, which budgets share, count in full for each.

A stopped run resumes where it was: results are kept by the digest of values and features (not of the code).

Run: python -m benchmarks.accuracy [--photos FOLDER] [--seeds 0 1 2] [--budgets 5 10 20] [--threads 2]
     python -m benchmarks.accuracy --quick       # a few small images and two epochs: shows that all runs
Writes accuracy.csv and accuracy.png to docs; with --quick to the work folder.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.datasets import DataSet, Places, add_arguments, all_of, quick
from benchmarks.intervals import interval, of_images
from benchmarks.recipes import Measured, measure

RECIPES = ("probe", "convex", "fast", "paper")
KNOWN = 1.0
"""Longest time, in seconds, of a job whose results are there already."""
NAMES = {"paper": "paper's recipe", "fast": "ours (default)", "convex": "ours, without joint training"}
ASIDE = {"paper": 0.97, "fast": 1.0, "convex": 1.03}  # so that intervals at one budget do not overlap
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
    widths = (13, 7, 6, 10, 7, 25, 20, 23, 8, 8, 6)
    titles = (
        "data",
        "recipe",
        "asked",
        "per class",
        "n",
        "test top-1",
        "seeds",
        "points above probe",
        "CPU s",
        "of codes",
        "ratio",
    )
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
                f"{row.n:,}",
                f"{row.top1:.4f} ({row.low:.4f} to {row.high:.4f})",
                f"{row.seeds}: {row.least:.4f} to {row.most:.4f}",
                f"{100 * row.gap:+.2f} ({100 * row.gap_low:+.2f} to {100 * row.gap_high:+.2f})",
                f"{row.cpu:.0f}",
                f"{row.codes_cpu:.0f}",
                f"{row.cpu / ours[key]:.1f}" if key in ours else "",
            )
        )
    rule = "  ".join(f"{{:>{width}}}" for width in widths)
    return "\n".join(rule.format(*line) for line in lines)


def draw(rows: Sequence[Summary], path: Path) -> None:
    """Draw accuracy against prototypes per class, with a panel for each data set."""
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
                [ASIDE[recipe] * row.class_size for row in line],
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
        panel.set_xlabel("prototypes per class (mean, logarithmic axis)")
        panel.set_ylabel("accuracy on test, % (bars and band: 95 % interval)")
        seeds, n = (_range(getattr(row, what) for row in own) for what in ("seeds", "n"))
        panel.set_title(f"{name}: {seeds} seed{'' if seeds == '1' else 's'}, n = {n} test images", fontsize=11)
        panel.grid(visible=True, color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, loc="best", fontsize=9)
    figure.savefig(path, dpi=130)


def _bits(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - ord("0")


def _range(numbers: Iterable[int]) -> str:
    """Return the number, or the least and the most if a run has not finished all seeds."""
    found = sorted(set(numbers))
    return " to ".join(f"{number:,}" for number in dict.fromkeys((found[0], found[-1])))


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
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of table and figure")
    parser.add_argument(
        "--quick", action="store_true", help="see that all runs: one small data set, 1 and 2 prototypes per class"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    places, out = Places.of(given), given.work / "quick" if given.quick else given.out
    given.budgets = [1, 2] if given.quick else given.budgets
    data = [quick(seed, places) for seed in given.seeds[:1]] if given.quick else all_of(given.seeds, places)
    found = run(data, ["probe", *(name for name in RECIPES[1:] if name in given.recipes)], given)
    rows = sorted(summarise(found), key=lambda row: (row.data, RECIPES.index(row.recipe), row.budget))
    print(table(rows))
    if not places.has_photos:
        print("photos: no row, since neither --photos FOLDER nor --reuse photos=FOLDER was given")
    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([vars(row) for row in rows]).round(5).to_csv(out / "accuracy.csv", index=False)
    draw(rows, out / "accuracy.png")


if __name__ == "__main__":
    main()
