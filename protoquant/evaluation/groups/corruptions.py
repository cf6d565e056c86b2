"""Accuracy and explanations under common corruptions of the image."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from PIL import Image

from protoquant.core.events import MessageEvent, track
from protoquant.core.seeding import numpy_generator
from protoquant.data.table import ImageTable
from protoquant.evaluation.changes.corruptions import CORRUPTIONS, SEVERITIES
from protoquant.evaluation.metrics.stability import MEASURES, agreements, see, seeing
from protoquant.evaluation.subject import GroupResult, Subject

TABLE = "corruptions.csv"
KINDS = [(kind, severity) for kind in CORRUPTIONS for severity in SEVERITIES]
KEPT = {"kept": "prediction", "top_prototype": "top_prototype", "top3": "top3"}
"""What a corrupted copy may keep, and the measure of stability that says whether it does."""


def measure(subject: Subject, split: str) -> GroupResult:
    """Corrupt images drawn from the split, in every kind and severity; an image and its copies form one batch."""
    count = subject.config.corruption_images
    if count == 0:
        subject.on_event(MessageEvent("evaluate.corruption_images is 0: corruptions are not measured"))
        return GroupResult({})
    drawn, images = subject.drawn(split, count, "corruptions"), subject.images_of(split)
    labels = images.frame.set_index("image_id")["label"]
    model = seeing(subject.bundle, subject.backbone)
    right, kept = [], []
    for image_id in track(drawn, f"corruptions, {split}", len(drawn), "images", subject.on_event):
        seen = see(model, subject.backbone, _views(subject, images, image_id))
        right.append([int(np.argmax(one.logits)) == labels[image_id] for one in seen])
        kept.append(agreements(seen, model, subject.config.epsilon))
    return measured(subject, np.array(right), np.stack(kept))


def measured(subject: Subject, right: Bool[np.ndarray, "n v"], kept: Float[np.ndarray, "n m a"]) -> GroupResult:
    """Numbers and table of n images.

    Args:
        subject: Gives the intervals.
        right: Whether the answer is the true class: unchanged, then in the order of ``KINDS``.
        kept: What each copy keeps of the explanation, in the order of ``KINDS`` and of ``MEASURES``.
    """
    by_kind = right[:, 1:].reshape(len(right), len(CORRUPTIONS), len(SEVERITIES)).mean(axis=2)
    stays = {name: kept[:, :, MEASURES.index(what)] for name, what in KEPT.items()}
    numbers: dict[str, Any] = {
        "clean": subject.estimate("corruptions-clean", right[:, 0].astype(np.float64)),
        "top1": subject.estimate("corruptions-top1", right[:, 1:].mean(axis=1)),
        **{name: subject.estimate(f"corruptions-{name}", values.mean(axis=1)) for name, values in stays.items()},
        "kinds": {
            kind: subject.estimate(f"corruptions-{kind}", by_kind[:, place]) for place, kind in enumerate(CORRUPTIONS)
        },
    }
    table = pd.DataFrame(KINDS, columns=["kind", "severity"])
    shares = {name: values.mean(axis=0) for name, values in {"top1": right[:, 1:], **stays}.items()}
    return GroupResult(numbers, {TABLE: table.assign(n=len(right), **shares)})


def _views(subject: Subject, images: ImageTable, image_id: str) -> list[Image.Image]:
    """The backbone's view of an image, and a copy for each of ``KINDS``."""
    preprocessing = subject.bundle.backbone.preprocessing
    view = preprocessing.apply(images.image(image_id, at_least=preprocessing.at_least))
    copies = [
        CORRUPTIONS[kind](
            view, severity, numpy_generator(subject.seed, "evaluate", "corruptions", kind, severity, image_id)
        )
        for kind, severity in KINDS
    ]
    return [view, *copies]
