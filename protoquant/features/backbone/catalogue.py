"""Lists timm's backbones and describes one without loading its weights."""

from __future__ import annotations

from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn

from protoquant.core.errors import UsageError, suggest
from protoquant.features.backbone.build import check_name, create, freeze, preprocessing_of, stride_of
from protoquant.features.backbone.input_size import asked_size, check_grid
from protoquant.features.backbone.layers import intermediate_maps, known_layers
from protoquant.features.backbone.layout import Layout, read_layout
from protoquant.features.backbone.overlap import overlap
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.backbone.spec import WeightSource
from protoquant.features.config import LAST, PACKAGED, ExtractConfig


@dataclass(frozen=True)
class BackboneCard:
    """Description of a backbone.

    Attributes:
        name: timm's name.
        weights: Possible sources of the weights: file, and packaged or hub where they have them.
        parameters: Number of parameters of the model.
        grid: (h, w), in cells.
        stride: Pixels of the input from one cell to the next; None where timm does not state them.
        patch_tokens: h * w.
        width: Dimension of a patch token.
        prefix_tokens: Number of class and register tokens, which are not patch tokens.
        classes: Number of outputs of its own classifier.
        mib_per_1000_images: MiB that the float16 tokens of 1000 images take.
        layers: Name of each layer that extract.layers may name, with its grid and dimension.
        preprocessing: Resize, crop and normalisation.
    """

    name: str
    weights: tuple[str, ...]
    parameters: int
    grid: tuple[int, int]
    stride: int | None
    patch_tokens: int
    width: int
    prefix_tokens: int
    classes: int
    mib_per_1000_images: float
    layers: dict[str, str]
    preprocessing: Preprocessing


def backbone_names(pattern: str) -> list[str]:
    """List the models that have weights.

    Args:
        pattern: Part of a name, or a pattern with ``*``.

    Raises:
        UsageError: No name matches.
    """
    names: list[str] = timm.list_models(pattern if "*" in pattern else f"*{pattern}*", pretrained=True)
    if not names:
        raise UsageError(f"no backbone with weights fits {pattern!r}{suggest(pattern, timm.list_models())}")
    return names


@torch.inference_mode()
def describe(name: str, **size: int | None) -> BackboneCard:
    """Build a model with random weights and describe it.

    Args:
        name: timm's name, with or without a tag.
        size: input_size, grid, output_stride or patch_stride, as in section ``extract``.

    Raises:
        ConfigError: The name is unknown, its features are not a grid of patch tokens, or it refuses the size.
    """
    check_name(name)
    packaged = name.partition(".")[0] in PACKAGED
    source: WeightSource = "packaged" if packaged else "hub"
    config = ExtractConfig.parse({"backbone": name, "weights": source, **size}, "extract", "options")
    asked = asked_size(config)
    model = freeze(create(name, pretrained=False, input_size=asked, output_stride=config.output_stride))
    preprocessing = preprocessing_of(model, source, asked)
    if config.patch_stride is not None:
        overlap(model, config.patch_stride, preprocessing.crop)
    image = torch.zeros(1, 3, *preprocessing.crop)
    layout = read_layout(model, image, name)
    check_grid(config, layout.grid)
    hub = timm.models.is_model_pretrained(name)
    return BackboneCard(
        name=name,
        weights=(*(["packaged"] if packaged else []), *(["hub"] if hub else []), "file"),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        grid=layout.grid,
        stride=config.patch_stride or stride_of(model),
        patch_tokens=layout.t,
        width=layout.d,
        prefix_tokens=layout.prefix,
        classes=int(model.num_classes),  # type: ignore[arg-type]
        mib_per_1000_images=round(1000 * layout.t * layout.d * 2 / 2**20, 1),
        layers=_layers(model, image, layout),
        preprocessing=preprocessing,
    )


def _layers(model: nn.Module, image: Tensor, layout: Layout) -> dict[str, str]:
    """What each layer gives, in words."""
    names = list(known_layers(model))
    maps = intermediate_maps(model, image, range(len(names)))[1] if names else []
    grids = {name: tuple(of_layer.shape[1:]) for name, of_layer in zip(names, maps, strict=True)}
    grids[LAST] = (layout.d, *layout.grid)
    return {name: f"{rows} x {cols} of {d}" for name, (d, rows, cols) in grids.items()}
