"""A model's answers to an image from which parts or objects were removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from protoquant.evaluation.metrics.funnybirds.trial import Trial, set_number
from protoquant.evaluation.sightings import as_stored
from protoquant.features.object_cells import labels_in_view
from protoquant.model.head import head_logits
from protoquant.model.presence import presence

if TYPE_CHECKING:
    from protoquant.evaluation.subject import Subject

BATCH = 8
"""Views in a batch (8: CPU caches); all of a batch are of one image, so that no number depends on other images."""


@dataclass(frozen=True)
class Removals:
    """The interventions of one image.

    Attributes:
        kept: Path of the image where a set of parts is kept, by ``set_number``; nothing at the set of all parts.
        objects: Path of the image without each object, in the order of their numbers.
    """

    kept: tuple[str | None, ...]
    objects: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """An image whose interventions were answered.

    Attributes:
        trial: The class scores.
        objects: Where each object is in the view (o, h, w): the pixels that change when it is removed, its shadow
            included. An object that is hidden has none.
    """

    trial: Trial
    objects: Bool[np.ndarray, "o h w"]


def removals(interventions: pd.DataFrame, parts: Sequence[str]) -> dict[str, Removals | None]:
    """Collect the interventions of each image.

    Args:
        interventions: ``image_id``, ``kind``, ``removed`` and ``path``, as in ``SplitParts.interventions``.
        parts: All parts.

    Returns:
        By image, in order; None for an image that lacks a set of parts.
    """
    found = interventions.groupby("image_id", sort=True)
    return {str(image_id): _removals(rows, list(parts)) for image_id, rows in found}


def answer(subject: Subject, split: str, image_id: str, of_image: Removals) -> Answered:
    """Run the backbone on all interventions of an image.

    The image itself is answered from its stored tokens, and so is every intervention that changes no pixel of the
    view; tokens of the others are rounded like stored ones. A removal that cannot be seen thus changes nothing.

    Args:
        subject: The model and the data.
        split: The split of the image.
        image_id: The image; it has stored tokens.
        of_image: Its interventions.

    Raises:
        DataError: An image is missing, has changed, or cannot be decoded.
    """
    known, position = subject.sightings(split), subject.store(split).image_ids.index(image_id)
    image = subject.images_of(split).image(image_id)
    parts, preprocessing = subject.parts_of(split), subject.bundle.backbone.preprocessing
    given = [None if path is None else parts.intervention(path) for path in of_image.kept]
    without = [parts.intervention(path) for path in of_image.objects]
    views = [np.asarray(preprocessing.apply(image if one is None else one)) for one in (None, *given, *without)]
    logits = _logits(subject, split, views, known.logits[position])
    trial = Trial(int(known.labels[position]), logits[0], logits[1 : len(given) + 1], logits[len(given) + 1 :])
    changed = [labels_in_view(_changed(image, one), preprocessing) > 0 for one in without]
    return Answered(trial, np.array(changed, dtype=bool).reshape(-1, *preprocessing.crop))


def _removals(rows: pd.DataFrame, parts: list[str]) -> Removals | None:
    kept: list[str | None] = [None] * 2 ** len(parts)
    of_parts, objects = rows[rows["kind"] == "parts"], rows[rows["kind"] == "object"]
    for removed, path in zip(of_parts["removed"], of_parts["path"], strict=True):
        stays = ~np.isin(parts, removed.split("+"))
        kept[int(set_number(stays))] = path
    if None in kept[:-1]:
        return None
    numbered = sorted(zip(objects["removed"].astype(int), objects["path"], strict=True))
    return Removals((*kept[:-1], None), tuple(path for _, path in numbered))


def _changed(image: Image.Image, other: Image.Image) -> UInt8[np.ndarray, "h w"]:
    """1 where two images of one size differ."""
    changed: UInt8[np.ndarray, "h w"] = (np.asarray(image) != np.asarray(other)).any(axis=2).astype(np.uint8)
    return changed


def _logits(
    subject: Subject, split: str, views: list[UInt8[np.ndarray, "h w 3"]], first: Float[np.ndarray, " c"]
) -> Float[np.ndarray, "v c"]:
    """Class scores of views, of which the first has known ones; equal views are computed once."""
    numbers: dict[bytes, int] = {}
    place = [numbers.setdefault(view.tobytes(), len(numbers)) for view in views]
    distinct = [views[place.index(number)] for number in range(1, len(numbers))]
    scores = np.concatenate([first[None], *_computed(subject, split, distinct)])
    found: Float[np.ndarray, "v c"] = scores[place]
    return found


def _computed(
    subject: Subject, split: str, views: list[UInt8[np.ndarray, "h w 3"]]
) -> Iterator[Float[np.ndarray, "b c"]]:
    bundle, head = subject.bundle, subject.bundle.head.cpu().double()
    codebook = bundle.codebook.to(subject.device)
    for start in range(0, len(views), BATCH):
        pixels = torch.from_numpy(np.stack(views[start : start + BATCH]))
        with torch.inference_mode():
            tokens = subject.backbone.features(subject.backbone.normalise(pixels)).tokens
            tokens = as_stored(tokens, subject.store(split))
            yield head_logits(presence(tokens, codebook, bundle.temperature).scores.cpu().double(), head).numpy()
