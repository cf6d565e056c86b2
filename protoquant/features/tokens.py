"""Patch tokens of one layer of the backbone, which are a tensor, or of several layers, each on its own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from protoquant.core.errors import ShapeError

Grid = tuple[int, int]


@dataclass(frozen=True)
class LayeredTokens:
    """Patch tokens of the same images from several layers of the backbone, in its order.

    Its shape is that of the tokens when they are put side by side: the cells of the finest grid, and the dimensions of
    all layers.

    Attributes:
        maps: Tokens of each layer, row by row (n, t, d), each with its own t and d.
        grids: (h, w) of each layer, in cells; each divides the finest one.
        names: Name of each layer.
    """

    maps: tuple[Float[Tensor, "n _t _d"], ...]
    grids: tuple[Grid, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.maps[0])

    def __getitem__(self, images: slice | Int64[Tensor, " m"] | Bool[Tensor, " n"]) -> LayeredTokens:
        """The tokens of some images."""
        return self.mapped(lambda part: part[images])

    def mapped(self, change: Callable[[Tensor], Tensor]) -> LayeredTokens:
        """The same layers with other tokens, each changed alone."""
        return replace(self, maps=tuple(map(change, self.maps)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, cells of the finest grid, and dimensions of all layers."""
        rows, cols = finest(self.grids)
        return len(self), rows * cols, sum(part.shape[-1] for part in self.maps)

    def to(self, *target: Any) -> LayeredTokens:
        """Copy to a device, a dtype, or both, as :meth:`torch.Tensor.to`."""
        return self.mapped(lambda part: part.to(*target))

    def cpu(self) -> LayeredTokens:
        """Copy to the CPU."""
        return self.to(torch.device("cpu"))


PatchTokens = Float[Tensor, "n t d"] | LayeredTokens
"""Patch tokens of images, without prefix tokens."""


def maps_of(tokens: PatchTokens) -> tuple[Float[Tensor, "n _t _d"], ...]:
    """The tokens of each layer."""
    return tokens.maps if isinstance(tokens, LayeredTokens) else (tokens,)


def single(tokens: PatchTokens) -> Float[Tensor, "n t d"]:
    """The tokens, which must be of one layer.

    Raises:
        ShapeError: They are of several.
    """
    if isinstance(tokens, LayeredTokens):
        raise ShapeError(f"tokens of one layer are needed, got those of {len(tokens.maps)}; run quantize again")
    return tokens


def pooled(tokens: PatchTokens) -> Float[Tensor, "n d"]:
    """Mean of an image's patch tokens in float32, layer beside layer."""
    means = [part.to(torch.float32).mean(dim=1) for part in maps_of(tokens)]
    return means[0] if len(means) == 1 else torch.cat(means, dim=1)


def joined(parts: Sequence[PatchTokens]) -> PatchTokens:
    """The tokens of the images of all parts, one after the other; at least one part, all of the same layers."""
    first = parts[0]
    if isinstance(first, LayeredTokens):
        every = zip(*map(maps_of, parts), strict=True)
        return replace(first, maps=tuple(torch.cat(of_layer) for of_layer in every))
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def finest(grids: Sequence[Grid]) -> Grid:
    """The grid with the most cells."""
    return max(grids, key=lambda grid: grid[0] * grid[1])


def upsampled(values: Float[Tensor, "n t k"], grid: Grid, fine: Grid) -> Float[Tensor, "n f k"]:
    """Values of each cell on a finer grid, bilinear between the centres of the cells; differentiable.

    Args:
        values: Values on a grid, row by row.
        grid: (h, w) of the values, in cells.
        fine: The grid of the result.
    """
    if grid == fine:
        return values
    (rows, cols), k = grid, values.shape[-1]
    if values.device.type == "cpu":
        maps = values.reshape(-1, rows, cols, k).permute(0, 3, 1, 2)
        finer = torch.nn.functional.interpolate(maps, size=fine, mode="bilinear", align_corners=False)
        return finer.permute(0, 2, 3, 1).flatten(1, 2)
    # On a GPU the gradient of torch's own interpolation adds in any order; that of two small products does not.
    down, across = (_axis(*sizes).to(values) for sizes in zip(grid, fine, strict=True))
    lines = down @ values.reshape(-1, rows, cols * k)
    return (across @ lines.reshape(-1, cols, k)).reshape(-1, fine[0] * fine[1], k)


@lru_cache(maxsize=32)
def upsampling(grid: Grid, fine: Grid) -> Float[Tensor, "f t"]:
    """The weights of a grid's cells in each cell of a finer one, as :func:`upsampled` takes them; a row sums to 1."""
    down, across = (_axis(*sizes) for sizes in zip(grid, fine, strict=True))
    with torch.inference_mode(mode=False):
        return torch.kron(down, across).contiguous()


def slices(sizes: Sequence[int]) -> list[slice]:
    """The range of each layer among the dimensions of all."""
    return [slice(*edges) for edges in pairwise(accumulate(sizes, initial=0))]


@lru_cache(maxsize=32)
def _axis(size: int, fine: int) -> Float[Tensor, "fine size"]:
    """Weights of the cells of an axis for each cell of a finer axis; those of a row sum to 1."""
    with torch.inference_mode(mode=False):  # the weights outlive the caller's mode, and gradients flow through them
        unit = torch.eye(size)[None]
        weights: Tensor = torch.nn.functional.interpolate(unit, size=fine, mode="linear", align_corners=False)[0].T
        return weights.contiguous()
