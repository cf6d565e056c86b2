"""The images nearest to each code, updated as the batches of a split are read."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.codebook.tokens import TokenSource, image_batches
from protoquant.distributed.ranks import gather_over_ranks

_NONE = -2.0


@dataclass(frozen=True)
class NearestImages:
    """For each code the m images with the most similar patch, nearest first; each image once.

    Attributes:
        cosines: Similarity of that patch (k, m); below -1 where there are fewer images.
        images: Position of the image in its split (k, m); -1 where there are fewer.
        cells: The patch's grid cell, row by row (k, m).
    """

    cosines: Float[Tensor, "k m"]
    images: Int64[Tensor, "k m"]
    cells: Int64[Tensor, "k m"]

    @classmethod
    def empty(cls, k: int, m: int, device: torch.device) -> Self:
        """The state before any image is seen."""
        cells = torch.full((k, m), -1, dtype=torch.int64, device=device)
        return cls(torch.full((k, m), _NONE, device=device), cells, cells)

    def with_images(self, similarity: Float[Tensor, "n t k"], first: int) -> Self:
        """Add images; on equal similarity the earlier image and the earlier cell come first.

        Args:
            similarity: Cosines of their patches.
            first: Position of the first of them in the split.
        """
        n, k = similarity.shape[0], similarity.shape[2]
        best, cells = similarity.max(dim=1)
        positions = torch.arange(first, first + n, device=similarity.device).expand(k, n)
        cosines = torch.cat([self.cosines, best.T], dim=1)
        cosines, order = cosines.sort(dim=1, descending=True, stable=True)
        kept = order[:, : self.cosines.shape[1]]
        return type(self)(
            cosines[:, : kept.shape[1]],
            torch.cat([self.images, positions], dim=1).gather(1, kept),
            torch.cat([self.cells, cells.T], dim=1).gather(1, kept),
        )

    def over_ranks(self) -> Self:
        """Merge the nearest images of all processes, each of which read a contiguous part of the split."""
        every = gather_over_ranks((self.cosines.cpu(), self.images.cpu(), self.cells.cpu()))
        cosines, images, cells = (torch.cat(parts, dim=1).to(self.cosines.device) for parts in zip(*every, strict=True))
        cosines, order = cosines.sort(dim=1, descending=True, stable=True)
        kept = order[:, : self.cosines.shape[1]]
        return type(self)(cosines[:, : kept.shape[1]], images.gather(1, kept), cells.gather(1, kept))

    def filled(self, codes: Int64[Tensor, " r"], own: Self) -> Self:
        """Put the images of some codes, from another search, in their places."""
        parts = ((self.cosines, own.cosines), (self.images, own.images), (self.cells, own.cells))
        return type(self)(*(whole.index_copy(0, codes, part) for whole, part in parts))

    def cpu(self) -> Self:
        """Copy to the CPU."""
        return type(self)(self.cosines.cpu(), self.images.cpu(), self.cells.cpu())

    def led_by(self, images: Int64[Tensor, "k l"], cells: Int64[Tensor, "k l"], cosines: Float[Tensor, "k l"]) -> Self:
        """Put the patches that a code is made of first; its other images follow, each once.

        Args:
            images: Position of their images in the split.
            cells: Their grid cells.
            cosines: Their similarity with the code.

        Returns:
            The same number of places as before, or one for each leading patch if these are more.
        """
        again = (self.images[:, :, None] == images[:, None, :]).any(dim=2)
        order = again.long().argsort(dim=1, stable=True)
        width = max(images.shape[1], self.images.shape[1])

        def joined(leading: Tensor, following: Tensor, none: float) -> Tensor:
            return torch.cat([leading, following.masked_fill(again, none).gather(1, order)], dim=1)[:, :width]

        return type(self)(
            joined(cosines, self.cosines, _NONE), joined(images, self.images, -1), joined(cells, self.cells, -1)
        )


def nearest_patches(
    source: TokenSource, norm: FeatureNorm | LayerSpace, units: Float[Tensor, "k d"], count: int, batch: int
) -> NearestImages:
    """Find the patches nearest to unit vectors, each of another image of a source.

    Args:
        source: Patch tokens.
        norm: Map from tokens to the space of the vectors.
        units: Unit vectors, on the device to compute on.
        count: Images for each vector.
        batch: Tokens per step.
    """
    nearest = NearestImages.empty(len(units), count, units.device)
    for images in image_batches(source, batch):
        cosines = norm.cosines(source.tokens(images).to(units.device), units)
        nearest = nearest.with_images(cosines.clamp(-1.0, 1.0), int(images[0]))
    return nearest
