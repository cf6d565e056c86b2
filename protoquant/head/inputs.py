"""Opens matching features, codes and images for train (never the test split), and scores them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import artifact_digest, open_artifact
from protoquant.core.errors import ArtifactError
from protoquant.core.events import OnEvent
from protoquant.data.table import ImageTable
from protoquant.distributed.ranks import world
from protoquant.features.object_cells import open_object_cells
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import TrainConfig
from protoquant.model.provenance import RANKS
from protoquant.model.scored_split import ScoredSplit, score_split

MAPPED = 1 << 31
"""Bytes of scores that may stay in memory; larger ones are memory-mapped."""


@dataclass(frozen=True)
class TrainInputs:
    """The opened input artifacts of a run.

    Attributes:
        images: The train images.
        train: Their features.
        validation: Features of the validation split.
        codebook: The codes as quantize learned them.
        probe: The linear probe, as yardstick.
        digests: Digest of every artifact, for the bundle's manifest.
        quantize_params: The section that quantize ran with; None if its output does not record it.
        on_object: Whether seeding was allowed to look at each cell of the train images; None: at all.
    """

    images: ImageTable
    train: FeatureStore
    validation: FeatureStore
    codebook: Codebook
    probe: LinearProbe
    digests: dict[str, str]
    quantize_params: Any
    on_object: Bool[Tensor, "n t"] | None = None

    @classmethod
    def open(cls, *, images: Path, root: Path, features: Path, codebook: Path) -> "TrainInputs":
        """Open the artifacts.

        Args:
            images: The artifact of prepare.
            root: ``prepare.root``.
            features: The artifact of extract; train and validation are opened.
            codebook: The artifact of quantize.

        Raises:
            ArtifactError: One is missing or damaged, or they were not made for each other.
        """
        table = ImageTable.open(images, root).split("train")
        manifest = open_artifact(codebook, "codebook")
        codes = Codebook.open(codebook, verify=False)
        stores = {name: FeatureStore.open(features / name, codes.layer_names) for name in ("train", "validation")}
        digests = {f"features/{name}": store.digest for name, store in stores.items()}
        for name, digest in digests.items():
            if manifest.inputs.get(name, digest) != digest:
                raise ArtifactError(f"{codebook} was learned from other {name} than {features}; run quantize again")
        seen = artifact_digest(images / "train")
        if stores["train"].inputs.get("images", seen) != seen:
            raise ArtifactError(
                f"{features / 'train'} was extracted from other images than {images}; run extract again"
            )
        train, validation = stores["train"], stores["validation"]
        if train.backbone != validation.backbone or train.grid != validation.grid:
            raise ArtifactError(
                f"{features}: train and validation are of different backbones or grids; run extract again"
            )
        return cls(
            table,
            train,
            validation,
            codes,
            LinearProbe.open(codebook),
            {
                **digests,
                "codebook": artifact_digest(codebook),
                "images/train": seen,
                # If this is equal, two versions of a model were chosen on the same validation images.
                **({"images/validation": held} if (held := validation.inputs.get("images")) else {}),
            },
            manifest.extra.get("params"),
            open_object_cells(codebook),
        )

    @property
    def classes(self) -> int:
        """Number of classes c."""
        return len(self.images.classes)


@dataclass(frozen=True)
class PresenceScores:
    """Presence scores of both splits for one codebook."""

    train: ScoredSplit
    validation: ScoredSplit


class Scoring:
    """Computes the presence scores of train and validation for any codebook.

    Args:
        config: Gives the temperatures and the batch.
        given: Gives the features and the probe.
        device: Device to compute on.
        folder: Folder for memory-mapped scores; None to keep them in memory.
        on_event: Receives progress.
    """

    def __init__(
        self, config: TrainConfig, given: TrainInputs, device: torch.device, folder: Path | None, on_event: OnEvent
    ) -> None:
        self._config, self._given, self._device = config, given, device
        self._folder, self._on_event, self._times = folder, on_event, 0

    @property
    def folder(self) -> Path | None:
        """Folder for memory-mapped scores; None if they stay in memory."""
        return self._folder

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures of the scores, in their order."""
        return self._config.temperatures

    def scores(self, codebook: Codebook) -> PresenceScores:
        """Score both splits.

        Raises:
            ShapeError: d differs from the codebook's, or a split is empty. DataError: A token holds NaN or infinity.
        """
        self._times += 1
        codebook = replace(codebook, mixture=None)  # scores need no patches, which would go to the device too
        return PresenceScores(self._split("train", codebook), self._split("validation", codebook))

    def _split(self, name: str, codebook: Codebook) -> ScoredSplit:
        room = None if self._folder is None else self._folder / f"{self._times}-{name}"
        if room is not None:
            room.mkdir()
        store = self._given.train if name == "train" else self._given.validation
        return score_split(
            store,
            codebook,
            self._given.probe,
            self._config.temperatures,
            batch=self._config.batch,
            nearest=RANKS,
            device=self._device,
            label=f"presence, {name}",
            folder=room,
            on_event=self._on_event,
        )


def scores_bytes(config: TrainConfig, given: TrainInputs) -> int:
    """Bytes of the presence scores of both splits that this process computes at a time."""
    return 4 * ((given.train.n + given.validation.n) // world()) * given.codebook.k * len(config.temperatures)


def mapped(scores: int, device: torch.device) -> bool:
    """Whether scores of so many bytes are memory-mapped; a GPU needs them in its own memory."""
    return device.type == "cpu" and scores > MAPPED


@contextmanager
def scoring(
    config: TrainConfig, given: TrainInputs, out: Path, device: torch.device, on_event: OnEvent
) -> Iterator[Scoring]:
    """Keep scores in memory or, if they are large, in files beside the bundle while they are in use.

    The operating system can then drop them from memory and read them again.

    Args:
        config: Gives the temperatures and the batch.
        given: Gives the features and codes.
        out: The bundle's folder.
        device: Device to compute on.
        on_event: Receives progress.
    """
    if not mapped(scores_bytes(config, given), device):
        yield Scoring(config, given, device, None, on_event)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-scores-") as folder:
        yield Scoring(config, given, device, Path(folder), on_event)
