"""Several token sources, one after another, as one source."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from protoquant.codebook.tokens import TokenSource
from protoquant.core.errors import ShapeError
from protoquant.features.store.store import FeatureStore
from protoquant.features.tokens import PatchTokens, joined


@dataclass(frozen=True)
class JoinedSource:
    """The images of several sources: those of the first, then those of the next.

    Attributes:
        parts: The sources, at least one; images of one grid and dimension.
    """

    parts: tuple[TokenSource, ...]

    def __post_init__(self) -> None:
        shapes = {(part.t, part.d) for part in self.parts}
        if len(shapes) != 1:
            raise ShapeError(f"joined sources must be of one shape of tokens (t, d), got {sorted(shapes)}")

    @property
    def n(self) -> int:
        """Number of images."""
        return sum(part.n for part in self.parts)

    @property
    def t(self) -> int:
        """Number of patch tokens in an image."""
        return self.parts[0].t

    @property
    def d(self) -> int:
        """Dimension of a token."""
        return self.parts[0].d

    @cached_property
    def labels(self) -> Int64[Tensor, " n"]:
        """Label of every image."""
        return torch.cat([part.labels for part in self.parts])

    @cached_property
    def _starts(self) -> Int64[Tensor, " p"]:
        """Position of the first image of each source."""
        counts = torch.tensor([part.n for part in self.parts])
        return counts.cumsum(0) - counts

    def tokens(self, indices: Int64[Tensor, " m"]) -> PatchTokens:
        """Read the tokens of some images, each from the source that holds it.

        Args:
            indices: Positions in [0, n), in any order; they may repeat.

        Raises:
            ShapeError: An index is out of range.
        """
        if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= self.n):
            raise ShapeError(
                f"image positions must lie in [0, {self.n}), got {int(indices.min())} to {int(indices.max())}"
            )
        which = torch.searchsorted(self._starts, indices, right=True) - 1
        needed = torch.unique(which).tolist()
        if len(needed) <= 1:
            part = needed[0] if needed else 0
            return self.parts[part].tokens(indices - self._starts[part])
        order = torch.sort(which, stable=True).indices
        found = [self.parts[part].tokens(indices[which == part] - self._starts[part]) for part in needed]
        return joined(found)[order.argsort()]


def all_views(store: FeatureStore) -> TokenSource:
    """The images of a store, then those of each of its augmented views; the store itself if it has none."""
    return JoinedSource((store, *store.views)) if store.views else store
