"""Token sources in the space of the codes: what comes before it is one layer's tokens or several layers'."""

from dataclasses import dataclass
from typing import cast

from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.codebook.tokens import FlatSource, TokenSource, own_part


@dataclass(frozen=True)
class SpaceSource:
    """The images of a source as vectors of a space that joins several layers; made batch by batch, never stored.

    Attributes:
        source: Tokens of several layers.
        space: The space, on the device of the vectors.
    """

    source: TokenSource
    space: LayerSpace

    @property
    def n(self) -> int:
        """Number of images."""
        return self.source.n

    @property
    def t(self) -> int:
        """Number of cells of the finest grid."""
        return self.source.t

    @property
    def d(self) -> int:
        """Dimension of a vector."""
        return self.source.d

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """Label of every image."""
        return self.source.labels

    def tokens(self, indices: Int64[Tensor, " m"]) -> Float[Tensor, "m t d"]:
        """The vectors of some images."""
        return self.space.units(self.source.tokens(indices).to(self.space.center.device))


def flat_part(source: FlatSource) -> FlatSource:
    """As :func:`own_part`, for a source of single tensors."""
    return cast("FlatSource", own_part(source))


def in_space(source: TokenSource, space: FeatureNorm | LayerSpace) -> tuple[FlatSource, FeatureNorm]:
    """A source of single vectors, and the map that is left from them to the space."""
    if isinstance(space, LayerSpace):
        return SpaceSource(source, space), FeatureNorm("l2")
    return cast("FlatSource", source), space
