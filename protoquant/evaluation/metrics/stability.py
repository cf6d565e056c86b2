"""Stability: how much of an explanation remains when the image is compressed, blurred, shifted or made noisy."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from PIL import Image

from protoquant.core.events import OnEvent, track
from protoquant.core.seeding import numpy_generator
from protoquant.data.table import ImageTable
from protoquant.evaluation.changes.perturb import PERTURBATIONS
from protoquant.features.backbone.backbone import Backbone
from protoquant.model.bundle import Bundle
from protoquant.model.head import head_logits
from protoquant.model.presence import presence

STABILITY = "stability.csv"
_TOP = 3


@dataclass(frozen=True)
class Seen:
    """The model's output for one view of an image.

    Attributes:
        scores: Presence of every code (k).
        cells: The grid cell of each presence (k).
        logits: Class scores (c).
    """

    scores: Float[np.ndarray, " k"]
    cells: Int[np.ndarray, " k"]
    logits: Float[np.ndarray, " c"]


@dataclass(frozen=True)
class ExplanationAgreement:
    """Agreement of two explanations of the class that is predicted on the unchanged image.

    Attributes:
        presence_change: Mean absolute change of the presence of the prototypes that contribute, in [0, 1].
        prediction: 1.0 where the predicted class stays, else 0.0.
        top_prototype: 1.0 where the same single prototype has the largest contribution, else 0.0, also for a tie.
        top3: 1.0 where the same three prototypes have the largest contributions, in any order, else 0.0, also where
            the third is tied with the fourth.
        cell: 1.0 where the single prototype of the largest contribution is found in the same grid cell, else 0.0.
    """

    presence_change: float
    prediction: float
    top_prototype: float
    top3: float
    cell: float


MEASURES = tuple(field.name for field in fields(ExplanationAgreement))


@dataclass(frozen=True)
class Stability:
    """One number for each image, perturbation and measure.

    Attributes:
        values: (n, perturbations, measures), in the order of ``PERTURBATIONS`` and ``MEASURES``.
    """

    values: Float[np.ndarray, "n p m"]

    @property
    def n(self) -> int:
        """Number of images measured."""
        return len(self.values)

    def of_images(self, measure: str) -> Float[np.ndarray, " n"]:
        """Mean over the perturbations, for each image."""
        mean: Float[np.ndarray, " n"] = self.values[:, :, MEASURES.index(measure)].mean(axis=1)
        return mean

    def table(self) -> pd.DataFrame:
        """Mean over the images: perturbation, n, then the measures."""
        frame = pd.DataFrame(self.values.mean(axis=0), columns=list(MEASURES))
        frame.insert(0, "perturbation", list(PERTURBATIONS))
        frame.insert(1, "n", self.n)
        return frame


def measure_stability(
    bundle: Bundle,
    backbone: Backbone,
    table: ImageTable,
    image_ids: Sequence[str],
    *,
    epsilon: float,
    seed: int,
    label: str = "stability",
    on_event: OnEvent,
) -> Stability:
    """Run the backbone on images and on changed copies of them, and compare the explanations.

    An image and its copies form one batch, and each copy has its own stream of random numbers, so no number depends on
    which other images are measured. The model is neither trained nor changed.

    Args:
        bundle: The model.
        backbone: The bundle's backbone.
        table: Table of the images.
        image_ids: The images to measure, at least one.
        epsilon: Contribution above which a prototype counts.
        seed: The seed of params.yaml.
        label: Label of the progress events.
        on_event: Receives progress after each image.

    Raises:
        DataError: An image is missing, has changed, or cannot be decoded.
    """
    model, values = seeing(bundle, backbone), []
    preprocessing = backbone.spec.preprocessing
    for image_id in track(image_ids, label, len(image_ids), "images", on_event):
        image = table.image(image_id, at_least=preprocessing.at_least)
        views = [preprocessing.apply(image)]
        for name, change in PERTURBATIONS.items():
            views.append(change(image, preprocessing, numpy_generator(seed, "evaluate", "stability", name, image_id)))
        values.append(agreements(see(model, backbone, views), model, epsilon))
    return Stability(np.stack(values))


def seeing(bundle: Bundle, backbone: Backbone) -> Bundle:
    """The model with its codebook on the backbone's device and its head in float64 on the CPU, once for all images."""
    return replace(bundle, codebook=bundle.codebook.to(backbone.device), head=bundle.head.cpu().double())


def see(bundle: Bundle, backbone: Backbone, views: Sequence[Image.Image]) -> list[Seen]:
    """Run a model on views as one batch.

    Args:
        bundle: The model, from :func:`seeing`.
        backbone: The bundle's backbone.
        views: RGB images as the backbone sees them, at least one.
    """
    pixels = torch.from_numpy(np.stack([np.asarray(view) for view in views]))
    with torch.inference_mode():
        found = presence(backbone.features(backbone.normalise(pixels)).tokens, bundle.codebook, bundle.temperature)
        scores, cells = found.scores.cpu().double(), found.cells.cpu()
        logits = head_logits(scores, bundle.head)
    return [Seen(*(part.numpy() for part in one)) for one in zip(scores, cells, logits, strict=True)]


def agreements(seen: Sequence[Seen], bundle: Bundle, epsilon: float) -> Float[np.ndarray, "v m"]:
    """Compare all views but the first with the first, in the order of ``MEASURES``; the bundle is from ``seeing``."""
    weights = bundle.head.numpy()
    return np.array([astuple(compare(seen[0], one, weights, epsilon)) for one in seen[1:]], dtype=np.float64)


def compare(before: Seen, after: Seen, head: Float[np.ndarray, "c k"], epsilon: float) -> ExplanationAgreement:
    """Compare the explanation of a changed image with that of the image itself.

    Args:
        before: The model's output for the image.
        after: The model's output for the changed image.
        head: Non-negative weights.
        epsilon: Contribution above which a prototype counts. If none counts, no presence can change and no prototype
            can stay.
    """
    label = int(np.argmax(before.logits))
    prediction = float(np.argmax(after.logits) == label)
    own, other = before.scores * head[label], after.scores * head[label]
    counted = own > epsilon
    if not counted.any():
        return ExplanationAgreement(0.0, prediction, 0.0, 0.0, 0.0)
    top, first = min(_TOP, int(counted.sum())), _largest(own, 1)
    leading = _largest(own, top)
    return ExplanationAgreement(
        presence_change=float(np.abs(after.scores - before.scores)[counted].mean()),
        prediction=prediction,
        top_prototype=float(first is not None and first == _largest(other, 1)),
        top3=float(leading is not None and leading == _largest(other, top)),
        cell=float(first is not None and all(before.cells[one] == after.cells[one] for one in first)),
    )


def _largest(contributions: Float[np.ndarray, " k"], count: int) -> frozenset[int] | None:
    """The prototypes of the largest contributions; None where a tie leaves open which they are."""
    order = np.argsort(-contributions, kind="stable").tolist()
    if count < len(order) and contributions[order[count - 1]] == contributions[order[count]]:
        return None
    return frozenset(order[:count])
