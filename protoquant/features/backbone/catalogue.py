"""Which backbones timm knows, and what one gives, told without its weights."""

from __future__ import annotations

from dataclasses import dataclass

import timm
import torch

from protoquant.core.errors import UsageError, suggest
from protoquant.features.backbone.build import check_name, create, freeze, preprocessing_of
from protoquant.features.backbone.layout import read_layout
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.config import PACKAGED


@dataclass(frozen=True)
class BackboneCard:
    """What a backbone gives.

    Attributes:
        name: timm's name.
        weights: Sources of weights: packaged, hub, or file alone.
        parameters: Numbers in the model.
        grid: (h, w), in cells.
        patch_tokens: h * w.
        width: Numbers in a patch token.
        prefix_tokens: Class and register tokens, which are no patch tokens.
        classes: Outputs of its own classifier.
        mib_per_1000_images: Size of their stored float16 tokens.
        preprocessing: Resize, crop and normalisation.
    """

    name: str
    weights: tuple[str, ...]
    parameters: int
    grid: tuple[int, int]
    patch_tokens: int
    width: int
    prefix_tokens: int
    classes: int
    mib_per_1000_images: float
    preprocessing: Preprocessing


def backbone_names(pattern: str) -> list[str]:
    """List the models that have weights.

    Args:
        pattern: Part of a name, or a pattern with ``*``.

    Raises:
        UsageError: No name fits.
    """
    names: list[str] = timm.list_models(pattern if "*" in pattern else f"*{pattern}*", pretrained=True)
    if not names:
        raise UsageError(f"no backbone with weights fits {pattern!r}{suggest(pattern, timm.list_models())}")
    return names


@torch.inference_mode()
def describe(name: str) -> BackboneCard:
    """Build a model with random weights and read off what it gives.

    Args:
        name: timm's name, with or without a tag.

    Raises:
        ConfigError: The name is unknown, or its features are no grid of patch tokens.
    """
    check_name(name)
    model = freeze(create(name, pretrained=False, input_size=None))
    packaged = name.partition(".")[0] in PACKAGED
    preprocessing = preprocessing_of(model, "packaged" if packaged else "hub", None)
    layout = read_layout(model, torch.zeros(1, 3, *preprocessing.crop), name)
    hub = timm.models.is_model_pretrained(name)
    return BackboneCard(
        name=name,
        weights=(*(["packaged"] if packaged else []), *(["hub"] if hub else []), "file"),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        grid=layout.grid,
        patch_tokens=layout.t,
        width=layout.d,
        prefix_tokens=layout.prefix,
        classes=int(model.num_classes),  # type: ignore[arg-type]
        mib_per_1000_images=round(1000 * layout.t * layout.d * 2 / 2**20, 1),
        preprocessing=preprocessing,
    )
