"""The size of the backbone's input that params.yaml asks for, in pixels or in cells, before any weights are read."""

from __future__ import annotations

import timm
import torch
from torch import nn

from protoquant.core.errors import ConfigError
from protoquant.features.backbone.build import check_name, create, stride_of
from protoquant.features.backbone.layers import layer_positions
from protoquant.features.backbone.overlap import check_overlap
from protoquant.features.config import LAST, ExtractConfig

Sides = tuple[int, int]


def asked_size(config: ExtractConfig) -> Sides | None:
    """Work out the size and refuse what the model cannot do.

    Args:
        config: Its input_size, grid, output_stride, patch_stride and layers count.

    Returns:
        (height, width) in pixels; None for the model's own.

    Raises:
        ConfigError: The model is unknown, has no such layer, does not take the strides or states none, or the size is
            no multiple of its stride.
    """
    asked = (config.input_size, config.grid, config.output_stride, config.patch_stride)
    if all(one is None for one in asked) and config.layers == (LAST,):
        return None
    check_name(config.backbone)
    model = _outline(config.backbone, config.output_stride)
    layer_positions(model, config.backbone, config.layers)
    patch = stride_of(model)
    if config.patch_stride is not None:
        check_overlap(model, config.patch_stride, config.backbone)
    if config.input_size is None and config.grid is None:
        return None
    if patch is None:
        if config.grid is None:
            return _sides(config.input_size)
        raise ConfigError(f"extract.grid: {config.backbone} states no stride; give extract.input_size instead")
    step = config.patch_stride or patch
    if config.grid is not None:
        rows, cols = _sides(config.grid)
        return patch + (rows - 1) * step, patch + (cols - 1) * step
    size = _sides(config.input_size)
    _check_divided(config.backbone, size, patch, step)
    return size


def check_grid(config: ExtractConfig, grid: Sides) -> None:
    """Refuse a model whose map has other cells than its stride promises.

    Args:
        config: Its grid counts.
        grid: (h, w) of the map, in cells.

    Raises:
        ConfigError: The grid is not the one asked for.
    """
    if config.grid is not None and grid != _sides(config.grid):
        asked = " x ".join(map(str, _sides(config.grid)))
        raise ConfigError(
            f"extract.grid: {config.backbone} gives {grid[0]} x {grid[1]} cells where its stride promises {asked}; "
            "give extract.input_size instead"
        )


def _outline(name: str, output_stride: int | None) -> nn.Module:
    """The model without numbers where it can be built so, else with random ones."""
    try:
        with torch.device("meta"):
            return create(name, pretrained=False, input_size=None, output_stride=output_stride)
    except (RuntimeError, NotImplementedError):
        return create(name, pretrained=False, input_size=None, output_stride=output_stride)


def _check_divided(name: str, size: Sides, patch: int, step: int) -> None:
    own = timm.models.get_pretrained_cfg(name).input_size[1:]
    if size == tuple(own) or all(side >= patch and (side - patch) % step == 0 for side in size):
        return
    near = " x ".join(str(patch + max(0, round((side - patch) / step)) * step) for side in size)
    lies = f"{patch} pixels and a multiple of {step}" if patch != step else f"a multiple of {step} pixels"
    raise ConfigError(
        f"extract.input_size: each side must be {lies} for the cells of {name}, got {size[0]} x {size[1]}; take {near}"
    )


def _sides(value: int | Sides | None) -> Sides:
    if value is None:
        raise ValueError("a size needs a number")
    return (value, value) if isinstance(value, int) else value
