"""Doubts about the labels of train, from a feature store that extract has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from protoquant.codebook.probe import pooled_tokens
from protoquant.core.errors import DataError
from protoquant.doctor.diagnosis import Doubts
from protoquant.doctor.findings import Finding
from protoquant.doctor.inspections.label_noise import label_noise
from protoquant.doctor.photo import Photo
from protoquant.features.store.store import FeatureStore

_BATCH = 256


def doubts_of(features: Path) -> Doubts:
    """Open the features of train.

    Args:
        features: The output folder of extract, or its folder ``train``.

    Returns:
        A function that finds the labels that a probe on these features doubts; images without features, and features
        of images that are not in train, are passed over.

    Raises:
        ArtifactError: There is no such store, or it is damaged. DataError, by the function: it is of other images.
    """
    store = FeatureStore.open(features / "train" if (features / "train").is_dir() else features)

    def doubts(train: Sequence[Photo]) -> list[Finding]:
        place = {image_id: number for number, image_id in enumerate(store.image_ids)}
        known = [photo for photo in train if photo.path in place]
        if train and not known:
            raise DataError(f"--features: {store.path} has no train image of this data, such as {train[0].path}")
        means = pooled_tokens(store, _BATCH, torch.device("cpu"))
        return label_noise(known, means[[place[photo.path] for photo in known]])

    return doubts
