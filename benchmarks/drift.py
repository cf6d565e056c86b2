"""Measure how far prototypes drift from the training patches that they are said to show.

Four heads on the same stored features, ten prototypes per class: ours (free codes and head trained together), ours
with the codes as k-means left them, ours tied to the mean of eight real patches, and a ProtoPNet-style head before its
projection (benchmarks/protopnet.py). Every prototype is compared by cosine with the nearest train patch and with its
start. On validation images, the benchmark measures how much the activations behind a prediction change under JPEG,
blur, shift and noise, and under noise on the tokens, as a share of their difference to other images; and whether
prediction, first prototype and its cell stay. Accuracy is on validation. Intervals are 95 % bootstrap intervals over
images, as in benchmarks.accuracy. Finished seeds are kept in the work folder; remove its ``drift`` after a change of
the code.

Run: python -m benchmarks.drift [--seeds 0 1 2] [--photos FOLDER] [--threads 2]
Writes drift.csv and drift.png to docs.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.datasets import DataSet, Places, add_arguments, one_of
from benchmarks.former import free_quantize, free_train
from benchmarks.intervals import interval, of_images
from benchmarks.protopnet import train_free_head
from benchmarks.steadiness import MEASURES, ON_TOKENS, VIEWS, Look, Watched, steadiness
from benchmarks.training import codebook_of, train_bundle, write_aside
from protoquant.codebook.codebook import Codebook
from protoquant.codebook.matching import products
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import token_batches
from protoquant.features.config import LAST
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import BudgetConfig, TrainConfig
from protoquant.model.bundle import Bundle
from protoquant.model.presence import presence

PER_CLASS, PATCHES, EPOCHS, IMAGES = 10, 8, 40, 100
CODES = free_quantize(layers=(LAST,))
"""The free head is a map of the last layer's tokens, so that all heads see these alone."""
COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#d55e00")  # of Okabe and Ito, safe for colour-blind readers
MARKERS = ("o", "^", "D", "s")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Drift:
    """The prototypes of one head, of one seed or of several.

    Attributes:
        name: Name of the head.
        nearest: Cosine of each prototype with its nearest train patch.
        start: Cosine of each prototype with its start.
        top1: Accuracy on validation of each seed, in [0, 1].
        steady: One value for each image, entry of VIEWS and entry of MEASURES.
    """

    name: str
    nearest: Float[np.ndarray, " p"]
    start: Float[np.ndarray, " p"]
    top1: Float[np.ndarray, " s"]
    steady: Float[np.ndarray, "n v m"]


@dataclass(frozen=True)
class _Head:
    """A trained head whose activations have not been measured yet."""

    name: str
    nearest: Float[Tensor, " p"]
    start: Float[Tensor, " p"]
    top1: float
    watched: Watched


def nearest_cosines(store: FeatureStore, norm: FeatureNorm, codes: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
    """Return the largest cosine of every code with any train patch."""
    best = torch.full((len(codes),), -1.0)
    for tokens in token_batches(store, 8_192):
        best = torch.maximum(best, products(norm.units(tokens), codes).amax(dim=0))
    return best


def measure(data: DataSet, work: Path) -> list[Drift]:
    """Measure all heads of one seed, or read the results of an earlier run."""
    config = free_train(budget=BudgetConfig(sizes=(PER_CLASS,)), choice=None, tolerance=0.0)
    features = data.workspace.features
    digests = [FeatureStore.open(features / name, CODES.layers).digest for name in ("train", "validation")]
    said = [CODES.model_dump_json(), config.model_dump_json()]
    key = json.dumps([data.key, data.seed, EPOCHS, IMAGES, PATCHES, *said, *digests])
    kept = work / "drift" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not kept.is_file():
        heads = list(_heads(data, config, work))
        steady = steadiness([one.watched for one in heads], data, IMAGES)
        found = [
            {
                "name": one.name,
                "nearest": one.nearest.tolist(),
                "start": one.start.tolist(),
                "top1": [one.top1],
                "steady": values.tolist(),
            }
            for one, values in zip(heads, steady, strict=True)
        ]
        write_aside(kept, json.dumps(found))
    read = json.loads(kept.read_text(encoding="utf-8"))
    return [Drift(one.pop("name"), **{name: np.array(values) for name, values in one.items()}) for one in read]


def _heads(data: DataSet, base: TrainConfig, work: Path) -> Iterator[_Head]:
    """Train the three heads of this library and the free one."""
    codebook, _ = codebook_of(data, CODES, work)
    learned = Codebook.open(codebook)
    train, validation = (
        FeatureStore.open(data.workspace.features / name, CODES.layers) for name in ("train", "validation")
    )
    ways = {
        "ours: codes and head together": base,
        "ours: codes as learned": base.model_copy(update={"joint": None}),
        f"ours: mean of {PATCHES} real patches": base.model_copy(
            update={"joint": None, "grounding": "mean", "grounding_patches": PATCHES}
        ),
    }
    for name, config in ways.items():
        bundle, _ = train_bundle(data, config, codebook, work)
        used = bundle.prototypes
        cosines = nearest_cosines(train, learned.norm, bundle.codebook.codes[used])
        start = (bundle.codebook.codes * learned.codes).sum(dim=1)[used]
        watched = Watched(_presence(bundle), bundle.head)
        yield _Head(name, cosines, start, float(bundle.metrics["validation"]["top1"]), watched)
    free = train_free_head(train, learned.norm, per_class=PER_CLASS, epochs=EPOCHS, seed=data.seed)
    with torch.inference_mode():
        cosines, start = nearest_cosines(train, free.norm, free.prototypes), (free.prototypes * free.start).sum(dim=1)
        watched = Watched(free.look, free.head)
        yield _Head("ProtoPNet-style, before projection", cosines, start, free.top1(validation), watched)


def _presence(bundle: Bundle) -> Look:
    def look(tokens: Float[Tensor, "v t d"]) -> tuple[Tensor, Tensor]:
        found = presence(tokens, bundle.codebook, bundle.temperature)
        return found.scores, found.cells

    return look


def together(seeds: Sequence[Sequence[Drift]], images: Sequence[str]) -> list[Drift]:
    """Combine the seeds of every head: all prototypes and accuracies; images that seeds share count once.

    Args:
        seeds: The heads of each seed, in one order.
        images: Name of the images of each seed.
    """
    joined = []
    for parts in zip(*seeds, strict=True):
        cosines = [np.concatenate([getattr(one, name) for one in parts]) for name in ("nearest", "start", "top1")]
        joined.append(Drift(parts[0].name, *cosines, of_images([one.steady for one in parts], images)))
    return joined


def summary(found: Sequence[Drift]) -> pd.DataFrame:
    """Build one row for each head; changes of activations are means over all views, with their intervals."""
    rows = []
    for one in found:
        steady = one.steady[:, : VIEWS.index(ON_TOKENS)].mean(axis=1)
        low, high = interval(steady[:, 0])
        numbers = {
            "head": one.name,
            "seeds": len(one.top1),
            "prototypes": len(one.nearest),
            "nearest_mean": one.nearest.mean(),
            "nearest_min": one.nearest.min(),
            "nearest_above_0.9": (one.nearest > 0.9).mean(),
            "start_mean": one.start.mean(),
            "validation_top1": one.top1.mean(),
            "validation_least": one.top1.min(),
            "validation_most": one.top1.max(),
            "images": len(steady),
            **dict(zip(MEASURES, steady.mean(axis=0), strict=True)),
            "change_low": low,
            "change_high": high,
            "change_token_noise": one.steady[:, VIEWS.index(ON_TOKENS), 0].mean(),
        }
        rows.append(numbers)
    return pd.DataFrame(rows)


def text(table: pd.DataFrame) -> str:
    """Return the summary as text: prototypes in the first lines, activations and accuracy in the second."""
    lines = [f"{'prototypes':<36} {'n':>5} {'nearest patch':>14} {'least':>6} {'above 0.9':>10} {'start':>6}"]
    rows = table.to_dict("records")
    for row in rows:
        cosines = f"{row['nearest_mean']:>14.3f} {row['nearest_min']:>6.3f} {row['nearest_above_0.9']:>10.2f}"
        lines.append(f"{row['head']:<36} {row['prototypes']:>5} {cosines} {row['start_mean']:>6.3f}")
    kept = f"{'class':>6} {'first':>6} {'cell':>6}"
    lines.append(
        f"{'activations, what stays, validation':<36} {'n':>5} {'change':>24} {'by tokens':>10} {kept} {'top-1':>26}"
    )
    for row in rows:
        change = f"{row['change']:.3f} ({row['change_low']:.3f} to {row['change_high']:.3f})"
        kept = f"{row['prediction']:>6.2f} {row['top_prototype']:>6.2f} {row['cell']:>6.2f}"
        top1 = f"{row['validation_top1']:.4f} ({row['validation_least']:.4f} to {row['validation_most']:.4f})"
        lines.append(
            f"{row['head']:<36} {row['images']:>5} {change:>24} {row['change_token_noise']:>10.3f} {kept} {top1:>26}"
        )
    return "\n".join(lines)


def draw(found: Sequence[Drift], data: str, path: Path) -> None:
    """Draw the share of prototypes up to a cosine, with nearest patch and start, and activation changes by view."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(14.5, 4.9), layout="constrained")
    for place, one in enumerate(found):
        accuracy = f"{one.name} (validation {100 * one.top1.mean():.1f} %)"
        for panel, cosines in zip(panels[:2], (one.nearest, one.start), strict=True):
            values = np.sort(cosines)
            share = np.arange(1, len(values) + 1) / len(values) * 100
            panel.step(values, share, color=COLOURS[place], ls=LINES[place], label=accuracy, lw=1.8, where="post")
        changes = 100 * one.steady[:, :, 0]
        ends = np.array([interval(column) for column in changes.T])
        panels[2].errorbar(
            np.arange(len(VIEWS)) + 0.12 * (place - 1.5),
            changes.mean(axis=0),
            yerr=[changes.mean(axis=0) - ends[:, 0], ends[:, 1] - changes.mean(axis=0)],
            color=COLOURS[place],
            marker=MARKERS[place],
            ls="none",
            capsize=2.5,
        )
    panels[2].set_xticks(np.arange(len(VIEWS)), [name.replace("jpeg", "JPEG ").replace(" n", "\nn") for name in VIEWS])
    panels[2].set_ylabel("change of activations, % of that to another image")
    panels[2].set_xlabel(f"change of the image (n = {len(found[0].steady):,} validation images)")
    panels[2].set_ylim(bottom=0)
    n = " / ".join(dict.fromkeys(f"{len(one.nearest):,}" for one in found))
    for panel, what in zip(panels[:2], ("with the nearest training patch", "with where it started"), strict=True):
        panel.set_xlabel(f"cosine of a prototype {what}")
        panel.set_ylabel(f"prototypes up to this, %\n(n = {n})")
        panel.set_xlim(right=1.005)
    for panel in panels:
        panel.grid(visible=True, color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9.5)
    seeds = len(found[0].top1)
    panels[0].set_title("further right: nearer to a patch", fontsize=10)
    panels[1].set_title("further right: moved less", fontsize=10)
    panels[2].set_title("lower: steadier (bars: 95 % interval)", fontsize=10)
    figure.suptitle(f"Prototypes of {data}, {PER_CLASS} per class, {seeds} seed{'s' if seeds > 1 else ''}", fontsize=11)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Print the table, write it, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of table and figure")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = [one_of(seed, Places.of(given)) for seed in given.seeds]
    found = together([measure(one, given.work) for one in data], [one.key for one in data])
    table = summary(found)
    print(f"{data[0].name}, seeds {', '.join(map(str, given.seeds))}")
    print(text(table))
    given.out.mkdir(parents=True, exist_ok=True)
    table.round(5).to_csv(given.out / "drift.csv", index=False)
    draw(found, data[0].name, given.out / "drift.png")


if __name__ == "__main__":
    main()
