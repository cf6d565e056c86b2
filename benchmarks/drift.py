"""How far prototypes drift from the training patches that they are said to show.

Four heads on the same stored features, ten prototypes per class: ours (the default, codes and head trained together),
ours with the codes as k-means left them, ours tied to the mean of eight real patches, and a ProtoPNet-style head
before its projection. There prototypes are free vectors from random patches, moved with the head by Adam under
cross-entropy, cluster and separation losses, and compared by log((d^2 + 1) / (d^2 + 1e-4)) of the distance between
unit vectors. Measured for every prototype: its cosine with the nearest train patch, and with where it started.
Accuracy is on validation.

Run: python -m benchmarks.drift [--seed 0] [--photos FOLDER] [--threads 2]
Writes docs/drift.png.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks.datasets import DataSet, partbirds, photos
from benchmarks.recipes import codebook_of, train_bundle
from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.matching import products
from protoquant.codebook.stream import token_batches
from protoquant.core.seeding import torch_generator
from protoquant.features.store import FeatureStore
from protoquant.head.config import BudgetConfig, TrainConfig

PER_CLASS, EPOCHS, BATCH = 10, 40, 64
CLUSTER, SEPARATION, NEAR = 0.8, 0.08, 1e-4
LR_PROTOTYPES, LR_HEAD = 3e-3, 1e-3
COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#d55e00")


@dataclass(frozen=True)
class Drift:
    """The prototypes of one head.

    Attributes:
        name: Of the head.
        nearest: Cosine of each prototype with its nearest train patch.
        start: Cosine of each with where it started.
        top1: Accuracy on validation, in [0, 1].
    """

    name: str
    nearest: Float[np.ndarray, " p"]
    start: Float[np.ndarray, " p"]
    top1: float


def nearest_cosines(store: FeatureStore, norm: FeatureNorm, codes: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
    """Largest cosine of every code with any train patch."""
    best = torch.full((len(codes),), -1.0)
    for tokens in token_batches(store, 8_192):
        best = torch.maximum(best, products(norm.units(tokens), codes).amax(dim=0))
    return best


def ours(data: DataSet, work: Path) -> Iterator[Drift]:
    """The three heads of this library."""
    codebook, _ = codebook_of(data, QuantizeConfig(), work)
    learned, store = Codebook.open(codebook), FeatureStore.open(data.workspace.features / "train")
    base = TrainConfig(budget=BudgetConfig(sizes=(PER_CLASS,)), tolerance=0.0)
    ways = {
        "ours: codes and head together": base,
        "ours: codes as learned": base.model_copy(update={"joint": None}),
        "ours: mean of 8 real patches": base.model_copy(update={"grounding": "mean", "grounding_patches": 8}),
    }
    for name, config in ways.items():
        bundle, _ = train_bundle(data, config, codebook, work)
        used = bundle.prototypes
        cosines = nearest_cosines(store, learned.norm, bundle.codebook.codes[used])
        start = (bundle.codebook.codes * learned.codes).sum(dim=1)[used]
        yield Drift(name, cosines.numpy(), start.numpy(), float(bundle.metrics["validation"]["top1"]))


def protopnet(data: DataSet, norm: FeatureNorm) -> Drift:
    """A head of free prototypes on the same unit tokens, before any projection."""
    train, validation = (FeatureStore.open(data.workspace.features / name) for name in ("train", "validation"))
    generator = torch_generator(data.seed, "benchmark drift")
    c = int(train.labels.max()) + 1
    of_class = torch.arange(c).repeat_interleave(PER_CLASS)
    start = torch.stack([_patch(train, norm, int(label), generator) for label in of_class])
    prototypes = start.clone().requires_grad_()
    own = torch.nn.functional.one_hot(of_class, c).T.float()
    head = (1.5 * own - 0.5).requires_grad_()
    optimizer = torch.optim.Adam([{"params": [prototypes], "lr": LR_PROTOTYPES}, {"params": [head], "lr": LR_HEAD}])
    for _ in range(EPOCHS):
        for images in torch.split(torch.randperm(train.n, generator=generator), BATCH):
            labels = train.labels[images]
            distance = _distances(norm.units(train.tokens(images)), normalize(prototypes, dim=1))
            mine = own[labels].bool()
            cluster = distance.masked_fill(~mine, torch.inf).amin(dim=1).mean()
            separation = distance.masked_fill(mine, torch.inf).amin(dim=1).mean()
            loss = cross_entropy(_activation(distance) @ head.T, labels) + CLUSTER * cluster - SEPARATION * separation
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.inference_mode():
        moved = normalize(prototypes, dim=1)
        right = 0
        for images in torch.split(torch.arange(validation.n), BATCH):
            scores = _activation(_distances(norm.units(validation.tokens(images)), moved))
            right += int(((scores @ head.T).argmax(dim=1) == validation.labels[images]).sum())
        cosines, drift = nearest_cosines(train, norm, moved), (moved * start).sum(dim=1)
    return Drift("ProtoPNet-style, before projection", cosines.numpy(), drift.numpy(), right / validation.n)


def _patch(store: FeatureStore, norm: FeatureNorm, label: int, generator: torch.Generator) -> Float[Tensor, " d"]:
    images = torch.nonzero(store.labels == label).flatten()
    image = images[torch.randint(len(images), (1,), generator=generator)]
    cell = int(torch.randint(store.t, (1,), generator=generator))
    return norm.units(store.tokens(image))[0, cell]


def _distances(units: Float[Tensor, "n t d"], prototypes: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """Least squared distance of each prototype to any token of an image."""
    n, t, d = units.shape
    return (2.0 - 2.0 * products(units.reshape(n * t, d), prototypes).reshape(n, t, -1).amax(dim=1)).clamp_min(0.0)


def _activation(distance: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Chen et al. 2019 (ProtoPNet), section 2.1."""
    return torch.log((distance + 1.0) / (distance + NEAR))


def draw(found: Sequence[Drift], data: str, path: Path) -> None:
    """Share of prototypes up to a cosine, with the nearest patch and with the start."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    for panel, title in zip(
        panels, ("cosine with the nearest training patch", "cosine with where it started"), strict=True
    ):
        for one, colour in zip(found, COLOURS, strict=True):
            values = np.sort(one.nearest if panel is panels[0] else one.start)
            label = f"{one.name} (validation {100 * one.top1:.1f} %)"
            panel.step(values, np.arange(1, len(values) + 1) / len(values) * 100, color=colour, label=label, lw=1.8)
        panel.set_xlabel(title)
        panel.set_xlim(right=1.005)
        panel.grid(visible=True, color="0.92")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("prototypes up to this cosine, %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.suptitle(f"Drift of prototypes, {data}, {PER_CLASS} per class; further right is closer", fontsize=11)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="class-named folders, in place of partbirds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    folder = given.photos
    data = partbirds(given.seed, given.work) if folder is None else photos(folder.resolve(), given.seed, given.work)
    found = list(ours(data, given.work))
    found.append(protopnet(data, Codebook.open(codebook_of(data, QuantizeConfig(), given.work)[0]).norm))
    print(f"{data.name}, seed {data.seed}: cosines of prototypes")
    print(f"{'':<36} {'n':>4} {'nearest patch':>14} {'least':>7} {'above 0.9':>10} {'start':>7} {'validation':>11}")
    for one in found:
        print(
            f"{one.name:<36} {len(one.nearest):>4} {one.nearest.mean():>14.3f} {one.nearest.min():>7.3f} "
            f"{(one.nearest > 0.9).mean():>10.2f} {one.start.mean():>7.3f} {one.top1:>11.4f}"
        )
    draw(found, data.name, given.out / "drift.png")


if __name__ == "__main__":
    main()
