"""A subject of the metric groups: a model, its backbone, and images and features of a test split."""

from pathlib import Path

import torch

from protoquant.core.events import OnEvent, ignore
from protoquant.data.table import ImageTable
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.subject import Subject
from protoquant.features.backbone.backbone import Backbone
from protoquant.model.bundle import Bundle
from tests.builders.images import write_images
from tests.builders.pictures import picture


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
