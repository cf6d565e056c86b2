"""The layout of a timm model's last tensor before pooling, as the model states it or as a probe batch proves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from protoquant.core.errors import ConfigError


@dataclass(frozen=True)
class Layout:
    """The feature tensor of one model.

    Attributes:
        axes: ``NCHW``, ``NHWC``, or ``NLC``: a sequence of prefix tokens, then patch tokens row by row.
        grid: (h, w), in cells.
        d: Dimension of a token.
        prefix: Number of class and register tokens in front; 0 for a map.
    """

    axes: Literal["NCHW", "NHWC", "NLC"]
    grid: tuple[int, int]
    d: int
    prefix: int

    @property
    def t(self) -> int:
        """Number of patch tokens in an image."""
        return self.grid[0] * self.grid[1]


def read_layout(model: nn.Module, images: Float[Tensor, "n 3 h w"], name: str) -> Layout:
    """Read the layout from a probe batch; nothing is guessed from the number of tokens.

    Args:
        model: A timm model in evaluation mode.
        images: Normalised probe images of the crop's size.
        name: Name of the model in error messages.

    Raises:
        ConfigError: The model refuses the size, does not return a single tensor, or states no grid.
    """
    raw = _forward_features(model, images, name)
    d = int(model.num_features)  # type: ignore[arg-type]
    axes: Literal["NCHW", "NHWC", "NLC"] = "NLC"
    if raw.ndim == 4:
        axes = "NHWC" if getattr(model, "output_fmt", "NCHW") == "NHWC" else "NCHW"
    if raw.shape[1 if axes == "NCHW" else -1] != d:
        raise ConfigError(
            f"extract.backbone: {name} says it has {d} features, its map {tuple(raw.shape)} read as {axes} "
            "has another number; choose another model"
        )
    if axes != "NLC":
        rows, cols = raw.shape[2:] if axes == "NCHW" else raw.shape[1:3]
        return Layout(axes, (int(rows), int(cols)), d, 0)
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    tokens = raw[:, prefix:]
    grid = _stated_grid(model, images, tokens.shape[1]) or _proven_grid(model, images, tokens)
    if grid is None:
        raise ConfigError(
            f"extract.backbone: {name} gives {raw.shape[1]} tokens, {prefix} of them prefix tokens, and does not "
            "say on which grid they lie; choose another model"
        )
    return Layout(axes, grid, d, prefix)


def _forward_features(model: nn.Module, images: Float[Tensor, "n 3 h w"], name: str) -> Tensor:
    """Run the model up to its pooling."""
    try:
        raw = model.forward_features(images)  # type: ignore[operator]
    except (AssertionError, RuntimeError) as error:
        size = " x ".join(map(str, images.shape[2:]))
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"extract.input_size: {name} cannot take {size} pixels ({reason})") from error
    if not isinstance(raw, Tensor) or raw.ndim not in (3, 4):
        held = f"a tensor of {raw.ndim} axes" if isinstance(raw, Tensor) else f"a {type(raw).__name__}"
        raise ConfigError(f"extract.backbone: {name} gives {held}, not one map of features; choose another model")
    return raw


def _stated_grid(model: nn.Module, images: Float[Tensor, "n 3 h w"], t: int) -> tuple[int, int] | None:
    """The grid stated by the patch embedding, if it has as many cells as there are patch tokens; otherwise None."""
    embed = getattr(model, "patch_embed", None)
    grid = getattr(embed, "grid_size", None)
    dynamic = getattr(embed, "dynamic_feat_size", None)
    if getattr(model, "dynamic_img_size", False) and dynamic is not None:
        grid = dynamic(images.shape[2:])
    if grid is None or len(grid) != 2 or grid[0] * grid[1] != t:
        return None
    return int(grid[0]), int(grid[1])


def _proven_grid(
    model: nn.Module, images: Float[Tensor, "n 3 h w"], tokens: Float[Tensor, "n t d"]
) -> tuple[int, int] | None:
    """The grid of the model's spatial map, if that map read row by row equals the sequence of tokens; else None."""
    spatial = getattr(model, "forward_intermediates", None)
    if spatial is None:
        return None
    for norm in (True, False):
        try:
            maps = spatial(images, indices=1, norm=norm, output_fmt="NCHW", intermediates_only=True)
        except (AssertionError, TypeError):
            continue
        last = maps[-1]
        if last.flatten(2).mT.shape == tokens.shape and torch.allclose(last.flatten(2).mT, tokens, atol=1e-5):
            return int(last.shape[2]), int(last.shape[3])
    return None
