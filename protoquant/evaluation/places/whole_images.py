"""PIP-Net's view for purity: the whole image, squashed to the size that the backbone sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from protoquant.core.events import track
from protoquant.evaluation.sightings import Sightings, sightings_of
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.tokens import PatchTokens

if TYPE_CHECKING:
    from protoquant.evaluation.subject import Subject


def whole_view(preprocessing: Preprocessing) -> Preprocessing:
    """The view of the whole image without its aspect: resized to the size of the crop, with nothing cut away."""
    return preprocessing.whole("squash")


def look_at_whole_images(subject: Subject, split: str) -> Sightings:
    """Look for every code in whole images, each in a forward pass of its own.

    Args:
        subject: The model and its images.
        split: The split.

    Raises:
        DataError: An image is missing, has changed, or cannot be decoded.
    """
    store = subject.store(split)
    tokens = _tokens(subject, split, store.image_ids)
    return sightings_of(tokens, store.image_ids, store.labels.numpy(), subject.bundle, subject.device)


def _tokens(subject: Subject, split: str, image_ids: tuple[str, ...]) -> Iterator[PatchTokens]:
    table, backbone = subject.images_of(split), subject.backbone
    view = whole_view(backbone.spec.preprocessing)
    for image_id in track(image_ids, f"whole images, {split}", len(image_ids), "images", subject.on_event):
        pixels = np.array(view.apply(table.image(image_id, at_least=view.at_least)))
        yield backbone.features(backbone.normalise(torch.from_numpy(pixels)[None])).tokens
