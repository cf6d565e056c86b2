"""A subject of the metric groups: a model, its backbone, and images and features of a test split."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from protoquant.core.events import OnEvent, ignore
from protoquant.data.parts.listing import PartListing
from protoquant.data.parts.table import PartTable
from protoquant.data.splits import SPLITS
from protoquant.data.table import ImageTable
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.subject import Subject
from protoquant.features.backbone.backbone import Backbone
from protoquant.model.bundle import Bundle
from tests.builders.images import write_images
from tests.builders.parts import write_parts_of
from tests.builders.pictures import picture
from tests.builders.tokens import write_split


def annotated(
    folder: Path,
    made: Bundle,
    features: Mapping[str, tuple[Tensor, Tensor]],
    parts: PartListing,
    *,
    config: EvaluateConfig | None = None,
    size: tuple[int, int] = (96, 64),
) -> Subject:
    """Images of (width, height) with the given tokens and labels of each split, and their parts."""
    sizes = {split: len(features[split][1]) if split in features else 0 for split in SPLITS}
    write_images(folder / "images", sizes, classes=made.classes, draw=lambda number: picture(number, *size))
    for split, (tokens, labels) in features.items():
        write_split(folder / "features" / split, tokens, labels, grid=made.grid, backbone=made.backbone)
    table = ImageTable.open(folder / "images", folder)
    held = PartTable.open(write_parts_of(folder / "parts", folder / "images", parts), folder)
    settings = config or EvaluateConfig(resamples=100)
    return Subject(made, table, held, folder / "features", settings, 0, torch.device("cpu"), ignore)


def subject(
    folder: Path, made: Bundle, backbone: Backbone, config: EvaluateConfig, *, on_event: OnEvent = ignore
) -> Subject:
    """Five test images, the model's classes in turn; the backbone is held as if the subject had loaded it."""
    if not (folder / "images").exists():
        write_images(folder / "images", {"test": 5}, classes=made.classes, draw=picture)
    table = ImageTable.open(folder / "images", folder)
    held = Subject(made, table, None, folder / "features", config, 0, torch.device("cpu"), on_event)
    held.__dict__["backbone"] = backbone
    return held
