"""Measures whether activations stay when an image or its features change a little, on the same views for all heads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from benchmarks.datasets import DataSet
from protoquant.core.seeding import numpy_generator, torch_generator
from protoquant.data.table import ImageTable
from protoquant.evaluation.changes.perturb import PERTURBATIONS
from protoquant.evaluation.metrics.stability import Seen, compare
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.config import LAST
from protoquant.features.store.store import FeatureStore

ON_TOKENS = "token noise"
VIEWS = (*PERTURBATIONS, ON_TOKENS)
SPREAD = 0.1
"""Standard deviation of the noise on tokens, as a share of the root mean square of the image's tokens."""
MEASURES = ("change", "prediction", "top_prototype", "cell")
EPSILON = 1e-3

Look = Callable[[Float[Tensor, "v t d"]], tuple[Float[Tensor, "v k"], Int64[Tensor, "v k"]]]
"""Maps the tokens of views to the activation of every prototype and the cell that gave it."""


@dataclass(frozen=True)
class Watched:
    """A head whose activations are measured; activations are >= 0, weights have any sign."""

    look: Look
    head: Float[Tensor, "c k"]


def steadiness(heads: Sequence[Watched], data: DataSet, images: int) -> Float[np.ndarray, "h n v m"]:
    """Compare every head's activations on changed images with those on the images themselves.

    Args:
        heads: Any number; each sees the same tokens.
        data: Where validation images and features are. Seeds that share them draw the same images; noise depends on the
            seed.
        images: How many validation images to draw.

    Returns:
        For each head, image and entry of VIEWS: the change of the activations of the prototypes that contribute to
        the class predicted on the image itself, as a share of their difference to other images (0: none), then 1.0
        where the prediction, the prototype of the largest contribution, and the cell where that is found, stay.
    """
    space = data.workspace
    store = FeatureStore.open(space.features / "validation", (LAST,))
    table = ImageTable.open(space.images, data.root).split("validation")
    drawn = torch.randperm(store.n, generator=torch_generator(0, "benchmark steadiness"))[:images]
    backbone = Backbone.load(store.backbone, "cpu")
    seen: list[list[list[Seen]]] = [[] for _ in heads]
    for place in drawn.tolist():
        tokens = torch.cat(list(_views(backbone, table, store.image_ids[place], data.seed)))
        for own, head in zip(seen, heads, strict=True):
            own.append(_see(head, tokens))
    return np.array([stays(own, head.head.double().numpy()) for own, head in zip(seen, heads, strict=True)])


def _views(backbone: Backbone, table: ImageTable, name: str, seed: int) -> Iterator[Float[Tensor, "v t d"]]:
    """Yield the tokens of the image, of its changed copies, and of the image with noise on its tokens."""
    preprocessing = backbone.spec.preprocessing
    image = table.image(name, at_least=preprocessing.at_least)
    views = [preprocessing.apply(image)]
    for kind, change in PERTURBATIONS.items():
        views.append(change(image, preprocessing, numpy_generator(seed, "benchmark steadiness", kind, name)))
    pixels = torch.from_numpy(np.stack([np.asarray(view) for view in views]))
    with torch.inference_mode():
        tokens = backbone.features(backbone.normalise(pixels)).tokens
    yield tokens
    plain = tokens[:1]
    noise = torch.randn(plain.shape, generator=torch_generator(seed, "benchmark steadiness", ON_TOKENS, name))
    yield plain + SPREAD * plain.square().mean().sqrt() * noise


def _see(watched: Watched, tokens: Float[Tensor, "v t d"]) -> list[Seen]:
    with torch.inference_mode():
        activations, cells = watched.look(tokens)
        logits = activations @ watched.head.T
    parts = zip(activations.double(), cells, logits.double(), strict=True)
    return [Seen(*(part.numpy() for part in one)) for one in parts]


def stays(seen: Sequence[Sequence[Seen]], head: Float[np.ndarray, "c k"]) -> Float[np.ndarray, "n v m"]:
    """Compare every view with the image itself.

    Activations of different heads are on different scales (shares in [0, 1], logarithms of distances), so their change
    is measured relative to the difference between images: 1 is the mean difference to the same activations of another
    image.

    Args:
        seen: For each image, the head's output for it and then for each view; at least two images.
        head: Weights of any sign.
    """
    plain = np.stack([one[0].scores for one in seen])
    values = []
    for before, *after in seen:
        counted = before.scores * head[int(np.argmax(before.logits))] > EPSILON
        apart = np.abs(plain - before.scores)[:, counted].sum() / (len(seen) - 1)
        rows = []
        for one in after:
            moved = float(np.abs(one.scores - before.scores)[counted].sum())
            kept = compare(before, one, head, EPSILON)
            rows.append((moved / apart if apart > 0 else 0.0, kept.prediction, kept.top_prototype, kept.cell))
        values.append(rows)
    return np.array(values, dtype=np.float64)
