"""The subject of the metric groups: a trained model and the data that it is measured on, opened as needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError, DataError
from protoquant.core.events import OnEvent
from protoquant.core.seeding import numpy_generator
from protoquant.data.parts.table import PartTable, SplitParts
from protoquant.data.table import ImageTable
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.intervals import estimate, mean_of
from protoquant.evaluation.places.part_view import PartView
from protoquant.evaluation.places.placed_parts import SplitPlaces, place_split
from protoquant.evaluation.sightings import Sightings, look_for_prototypes
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle

TEST = "test"


class LackingDataError(DataError):
    """The data lacks what a group needs: the group is passed over, and the others are measured."""


@dataclass(frozen=True)
class GroupResult:
    """What a metric group found on one split.

    Attributes:
        numbers: Nested numbers; a leaf is a number, None, or an estimate as a mapping of value, n, low and high.
        tables: Tables by the name of their file, such as ``purity.csv``.
    """

    numbers: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A trained model and the data that it is measured on.

    Attributes:
        bundle: The model.
        images: All images.
        parts: Part annotations of the images.
        features: Folder of the feature stores, one for each split.
        config: The ``evaluate`` section.
        seed: The seed of params.yaml; every number has a random stream of its own.
        device: Device to compute on.
        on_event: Receives progress.
    """

    bundle: Bundle
    images: ImageTable
    parts: PartTable
    features: Path
    config: EvaluateConfig
    seed: int
    device: torch.device
    on_event: OnEvent

    @cached_property
    def backbone(self) -> Backbone:
        """The bundle's backbone; loaded by the first group that needs it.

        Raises:
            UsageError: Its weights cannot be obtained.
        """
        with torch.inference_mode(mode=False):  # whoever asks first: an attack differentiates through its weights
            return Backbone.load(self.bundle.backbone, self.device)

    @cached_property
    def head(self) -> Float[np.ndarray, "c k"]:
        """The head's weights, in float64."""
        weights: Float[np.ndarray, "c k"] = self.bundle.head.double().numpy()
        return weights

    @cached_property
    def store(self) -> Callable[[str], FeatureStore]:
        """Open the features of a split: ``subject.store("test")``.

        Raises:
            ArtifactError: The features are missing, damaged, or not of this model and these images.
        """
        return cache(self._store)

    @cached_property
    def images_of(self) -> Callable[[str], ImageTable]:
        """The images of a split, whose table is read and checked once: ``subject.images_of("test")``."""
        return cache(self.images.split)

    @cached_property
    def parts_of(self) -> Callable[[str], SplitParts]:
        """The part annotations of a split, which are read and checked once: ``subject.parts_of("test")``."""
        return cache(self.parts.split)

    @cached_property
    def sightings(self) -> Callable[[str], Sightings]:
        """Look for every code in every image of a split, from the stored tokens: ``subject.sightings("test")``."""
        return cache(lambda split: look_for_prototypes(self.store(split), self.bundle, self.device, self.on_event))

    @cached_property
    def places(self) -> Callable[[str], SplitPlaces]:
        """Find the annotated parts in the boxes of all cells of a split: ``subject.places("test")``."""
        return cache(self._places)

    def part_view(self, split: str, preprocessing: Preprocessing | None = None) -> PartView:
        """The annotated parts of a split as the backbone sees them.

        Args:
            split: The split.
            preprocessing: Another view than the backbone's.
        """
        view = preprocessing or self.bundle.backbone.preprocessing
        return PartView.open(self.parts_of(split), self.images_of(split), view)

    def estimate(self, name: str, values: Float[np.ndarray, " n"]) -> dict[str, Any] | None:
        """The mean of one value per item with its bootstrap interval.

        Args:
            name: Name of the number; it decides the random stream.
            values: One value for each item; NaN where it is undefined, which leaves the item out.

        Returns:
            value, n, low and high; None without any item.
        """
        known = np.asarray(values, dtype=np.float64)
        known = known[~np.isnan(known)]
        if len(known) == 0:
            return None
        return asdict(estimate(mean_of(known), len(known), self.config, numpy_generator(self.seed, "evaluate", name)))

    def drawn(self, split: str, count: int | None, name: str) -> list[str]:
        """Draw images of a split at random.

        Args:
            split: The split.
            count: How many; all if there are fewer, or if it is None.
            name: Name of the draw; it decides the random stream.

        Returns:
            Image ids in order.
        """
        image_ids = sorted(self.images_of(split).frame["image_id"])
        order = numpy_generator(self.seed, "evaluate", name).permutation(len(image_ids))[:count]
        return [image_ids[position] for position in sorted(order.tolist())]

    def _places(self, split: str) -> SplitPlaces:
        return place_split(self.part_view(split), self.store(split).image_ids, self.bundle.grid, self.on_event)

    def _store(self, split: str) -> FeatureStore:
        store, model = FeatureStore.open(self.features / split, self.bundle.backbone.layers), self.bundle
        if model.backbone != store.backbone or tuple(model.grid) != store.grid:
            raise ArtifactError(
                f"the bundle was trained on {model.backbone.name}, grid {tuple(model.grid)}; the {split} features are "
                f"of {store.backbone.name}, grid {store.grid}, or of other weights or preprocessing; run dvc repro"
            )
        made_from = artifact_digest(self.images.images / split)
        if store.inputs.get("images", made_from) != made_from:
            raise ArtifactError(
                f"{store.path} was extracted from other images than {self.images.images / split}; run extract again"
            )
        return store
