"""What of tokens enters their cosines with codes, whatever the codes are; for training, kept where memory allows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.features.tokens import maps_of

if TYPE_CHECKING:
    from protoquant.codebook.codebook import Space
    from protoquant.codebook.tokens import TokenSource

KEPT = 1 << 30
"""Bytes of all directions that may stay in memory."""
_BATCH = 64


@dataclass(frozen=True)
class Directed:
    """Tokens of images as their space compares them.

    Attributes:
        maps: What codes are multiplied with (n, t, d), each with its own t and d. In a space of one layer, its
            directions. Else first the directions of the layers on the finest grid and a 1, side by side and times the
            scale of their cell, then the directions of each coarser layer.
        scale: Factor of each cell of the finest grid (n, t), 0 where a cell has no direction.
    """

    maps: tuple[Float[Tensor, "n _t _d"], ...]
    scale: Float[Tensor, "n t"]

    def __getitem__(self, images: Int64[Tensor, " m"]) -> Directed:
        """Those of some images."""
        return Directed(tuple(part[images] for part in self.maps), self.scale[images])


class DirectedSource:
    """The images of a source as a space compares them, made once if they fit into memory, else whenever they are asked.

    Args:
        source: Patch tokens.
        space: The space of the codes, on the device to compute on.
        device: That device.
        most: Bytes that may be kept.
    """

    def __init__(self, source: TokenSource, space: Space, device: torch.device, most: int) -> None:
        self._source, self._space, self._device = source, space, device
        self._kept: Directed | None = None
        if self.size <= most:
            parts = [self._made(images) for images in torch.split(torch.arange(source.n), _BATCH)]
            maps = tuple(torch.cat(of_layer) for of_layer in zip(*(part.maps for part in parts), strict=True))
            self._kept = Directed(maps, torch.cat([part.scale for part in parts]))

    @property
    def size(self) -> int:
        """Bytes of the directions of all images."""
        one = maps_of(self._source.tokens(torch.zeros(1, dtype=torch.int64)))
        return 4 * self._source.n * (2 * self._source.t + sum(part.numel() for part in one))

    def of(self, images: Int64[Tensor, " m"]) -> Directed:
        """The directions of some images.

        Raises:
            DataError: A token holds NaN or infinity.
        """
        return self._made(images) if self._kept is None else self._kept[images.to(self._device)]

    def _made(self, images: Int64[Tensor, " m"]) -> Directed:
        return self._space.directed(self._source.tokens(images).to(self._device))
