"""Positions of a plain vision transformer on another grid: for an input of another size, or overlapping patches."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from protoquant.core.errors import ConfigError


def check_overlap(model: nn.Module, stride: int, name: str) -> None:
    """Refuse a model or a stride for which patches cannot overlap.

    Args:
        model: The model, with or without its weights.
        stride: Pixels from one patch to the next.
        name: Name of the model in error messages.

    Raises:
        ConfigError: The model is no vision transformer with learned positions, or the stride does not divide its patch.
    """
    embed: Any = getattr(model, "patch_embed", None)
    if not isinstance(model, VisionTransformer) or type(embed) is not PatchEmbed or model.pos_embed is None:
        raise ConfigError(
            f"extract.patch_stride: {name} is no plain vision transformer with learned positions; leave it empty (null)"
        )
    side = min(embed.patch_size)
    if any(stride >= one or one % stride for one in embed.patch_size):
        fitting = ", ".join(str(one) for one in range(1, side) if side % one == 0)
        raise ConfigError(
            f"extract.patch_stride must divide the patch of {name}, {side} pixels, and be below it, got {stride}; "
            f"take one of {fitting}"
        )


def overlap(model: Any, stride: int, size: tuple[int, int]) -> None:
    """Let patches overlap; the patches at the former places keep their positions, those between lie between.

    Boxes and pictures tile the input with the cells of the grid. Patches overlap and do not: the middle of a cell is
    that of its patch in the middle of the input, and towards an edge up to half of (patch - stride) pixels beyond it.

    Args:
        model: A frozen model that :func:`check_overlap` accepts; it is changed in place.
        stride: Pixels from one patch to the next.
        size: (height, width) of the input in pixels, at which the model was created.

    Source:
        Amir et al., "Deep ViT features as dense visual descriptors" (2021): stride and positions of a trained model
        changed without training.
    """
    embed = model.patch_embed

    def cells(sides: tuple[int, int]) -> tuple[int, int]:
        down, across = ((side - patch) // stride + 1 for side, patch in zip(sides, embed.patch_size, strict=True))
        return down, across

    grid = cells(size)
    front = 0 if model.no_embed_class else model.num_prefix_tokens
    # Corners are aligned since the first and the last patch stay where they are.
    with torch.no_grad():
        places = resample_abs_pos_embed(
            model.pos_embed, list(grid), list(embed.grid_size), front, antialias=False, align_corners=True
        )
    model.pos_embed = nn.Parameter(places, requires_grad=False)
    embed.proj.stride = (stride, stride)
    embed.grid_size, embed.num_patches = grid, grid[0] * grid[1]
    embed.dynamic_feat_size = cells


def positions_fitted(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Resample the positions in a state to the grid of the model, as timm does with weights of its hub.

    Args:
        state: Tensors by name, of a model with a square grid.
        model: The model, created at another input size; only a plain vision transformer changes anything.
    """
    held, own = state.get("pos_embed"), getattr(model, "pos_embed", None)
    if not isinstance(model, VisionTransformer) or held is None or own is None or held.shape == own.shape:
        return state
    front = 0 if model.no_embed_class else model.num_prefix_tokens
    cells = held.shape[1] - front if held.ndim == 3 else 0
    if cells < 1 or isqrt(cells) ** 2 != cells or held.shape[2] != own.shape[2]:
        return state
    embed: Any = model.patch_embed
    return {**state, "pos_embed": resample_abs_pos_embed(held, list(embed.grid_size), None, front)}
