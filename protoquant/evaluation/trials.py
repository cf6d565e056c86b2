"""Images tried with parts and objects removed, and explained by every method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from protoquant.core.events import MessageEvent, track
from protoquant.evaluation.interventions import Removals, answer, removals
from protoquant.evaluation.metrics.funnybirds.regions import (
    as_importance,
    box_coverage,
    box_evidence,
    map_coverage,
    map_evidence,
    with_whole,
)
from protoquant.evaluation.metrics.funnybirds.trial import Importance, Trial
from protoquant.evaluation.places.box import fixed_boxes
from protoquant.evaluation.subject import LackingDataError, Subject
from protoquant.features.object_cells import labels_in_view
from protoquant.model.presence import look

EXPLAINERS = ("map", "box")


@dataclass(frozen=True)
class Tried:
    """The images of a split whose interventions are complete, in order.

    Attributes:
        image_ids: The images.
        trials: The model's answers to each.
        explained: By explanation method, the explanation of each.
        at_edge: Whether the object of each reaches the edge of the view, or lies beyond it (n).
    """

    image_ids: tuple[str, ...]
    trials: tuple[Trial, ...]
    explained: Mapping[str, tuple[Importance, ...]]
    at_edge: Bool[np.ndarray, " n"]


def try_images(subject: Subject, split: str) -> Tried:
    """Answer and explain the images of a split, one by one; says how many lack interventions and are left out.

    Raises:
        LackingDataError: No image has all interventions.
        DataError: One of them is missing, has changed, or cannot be decoded.
    """
    complete = _complete(subject, split)
    trials, edges, explained = [], [], {name: list[Importance]() for name in EXPLAINERS}
    preprocessing = subject.bundle.backbone.preprocessing
    for image_id in track(complete, "funnybirds", len(complete), "images", subject.on_event):
        answered = answer(subject, split, image_id, complete[image_id])
        labels = labels_in_view(subject.parts_of(split).labels(image_id), preprocessing)
        parts = labels == np.arange(1, answered.trial.parts + 1)[:, None, None]
        for name, found in explain(subject, split, image_id, with_whole(parts, answered.objects)).items():
            explained[name].append(as_importance(found, len(parts)))
        trials.append(answered.trial)
        edges.append(_at_edge(labels > 0))
    return Tried(
        tuple(complete), tuple(trials), {name: tuple(held) for name, held in explained.items()}, np.array(edges)
    )


def explain(
    subject: Subject, split: str, image_id: str, masks: Bool[np.ndarray, "m h w"]
) -> dict[str, Float[np.ndarray, "m c"]]:
    """By explanation method, the evidence for every class inside each mask of the view, from the stored tokens."""
    store, known = subject.store(split), subject.sightings(split)
    position = store.image_ids.index(image_id)
    codebook = subject.bundle.codebook.to(subject.device)
    seen = look(store.tokens([position]).to(subject.device), codebook, subject.bundle.temperature)
    shares = seen.shares[0].cpu().double().numpy()
    scores, cells = known.scores[position].astype(np.float64), known.cells[position]
    in_boxes = box_coverage(masks, fixed_boxes(store.grid, subject.bundle.backbone.preprocessing.crop))
    return {
        "map": map_evidence(map_coverage(masks, store.grid), shares, subject.head),
        "box": box_evidence(in_boxes, scores, cells, subject.head),
    }


def _complete(subject: Subject, split: str) -> dict[str, Removals]:
    """The interventions of each image that has them for all sets of parts."""
    parts, every = subject.parts.schema.parts, subject.store(split).image_ids
    found = removals(subject.parts_of(split).interventions, parts)
    complete = {name: of_image for name, of_image in found.items() if of_image is not None}
    if not complete:
        raise LackingDataError(
            f"it needs images without each of the {2 ** len(parts) - 1} sets of "
            f"{', '.join(parts)}; none of the {len(every):,} images of {split} has them all"
        )
    if left := [name for name in every if name not in complete]:
        text = (
            f"funnybirds leaves out {len(left):,} of {len(every):,} images, which lack removals of parts, as {left[0]}"
        )
        subject.on_event(MessageEvent(text, "warning"))
    return complete


def _at_edge(thing: Bool[np.ndarray, "h w"]) -> bool:
    """Whether a thing is not wholly inside the view."""
    return bool(thing[[0, -1]].any() or thing[:, [0, -1]].any() or not thing.any())
