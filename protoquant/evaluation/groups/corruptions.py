"""Accuracy under common corruptions of the image."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int

from protoquant.codebook.codebook import Codebook
from protoquant.core.events import MessageEvent, track
from protoquant.core.seeding import numpy_generator
from protoquant.data.table import ImageTable
from protoquant.evaluation.changes.corruptions import CORRUPTIONS, SEVERITIES
from protoquant.evaluation.subject import GroupResult, Subject
from protoquant.model.head import head_logits
from protoquant.model.presence import presence

TABLE = "corruptions.csv"
KINDS = [(kind, severity) for kind in CORRUPTIONS for severity in SEVERITIES]


def measure(subject: Subject, split: str) -> GroupResult:
    """Corrupt images drawn from the split, in every kind and severity; an image and its copies form one batch."""
    count = subject.config.corruption_images
    if count == 0:
        subject.on_event(MessageEvent("evaluate.corruption_images is 0: corruptions are not measured"))
        return GroupResult({})
    drawn, images = subject.drawn(split, count, "corruptions"), subject.images_of(split)
    labels = images.frame.set_index("image_id")["label"]
    codebook = subject.bundle.codebook.to(subject.device)
    progress = track(drawn, f"corruptions, {split}", len(drawn), "images", subject.on_event)
    predicted = np.stack([_answers(subject, images, image_id, codebook) for image_id in progress])
    return measured(subject, predicted, labels[drawn].to_numpy())


def measured(subject: Subject, predicted: Int[np.ndarray, "n m"], labels: Int[np.ndarray, " n"]) -> GroupResult:
    """Numbers and table of answers to n images: unchanged, then in the order of ``KINDS``."""
    right, same = predicted == labels[:, None], predicted[:, 1:] == predicted[:, :1]
    by_kind = right[:, 1:].reshape(len(labels), len(CORRUPTIONS), len(SEVERITIES)).mean(axis=2)
    numbers: dict[str, Any] = {
        "clean": subject.estimate("corruptions-clean", right[:, 0].astype(np.float64)),
        "top1": subject.estimate("corruptions-top1", right[:, 1:].mean(axis=1)),
        "kept": subject.estimate("corruptions-kept", same.mean(axis=1)),
        "kinds": {
            kind: subject.estimate(f"corruptions-{kind}", by_kind[:, place]) for place, kind in enumerate(CORRUPTIONS)
        },
    }
    return GroupResult(numbers, {TABLE: _table(right[:, 1:], same)})


def _table(right: Bool[np.ndarray, "n m"], same: Bool[np.ndarray, "n m"]) -> pd.DataFrame:
    """One row per kind and severity: kind, severity, n, top1, kept (share of answers that stay)."""
    frame = pd.DataFrame(KINDS, columns=["kind", "severity"])
    return frame.assign(n=len(right), top1=right.mean(axis=0), kept=same.mean(axis=0))


def _answers(subject: Subject, images: ImageTable, image_id: str, codebook: Codebook) -> Int[np.ndarray, " m"]:
    """The class predicted for an image and for each of its copies."""
    preprocessing, backbone = subject.bundle.backbone.preprocessing, subject.backbone
    image = images.image(image_id, at_least=preprocessing.at_least)
    view = preprocessing.apply(image)
    copies = [
        CORRUPTIONS[kind](
            view, severity, numpy_generator(subject.seed, "evaluate", "corruptions", kind, severity, image_id)
        )
        for kind, severity in KINDS
    ]
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in [view, *copies]]))
    with torch.inference_mode():
        found = presence(backbone.features(backbone.normalise(pixels)).tokens, codebook, subject.bundle.temperature)
        logits = head_logits(found.scores.cpu().double(), subject.bundle.head.double())
    best: Int[np.ndarray, " m"] = logits.numpy().argmax(axis=1)
    return best
