"""Presence: how surely a code is somewhere in an image, and where."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.competition import competition, pooled_with_cells
from protoquant.features.tokens import PatchTokens


@dataclass(frozen=True)
class Presence:
    """Presence of every code in n images.

    Attributes:
        scores: Presence of every code (n, k), in [0, 1].
        cells: The grid cell with that presence (n, k), counted row by row; the first on a tie.
    """

    scores: Float[Tensor, "n k"]
    cells: Int64[Tensor, "n k"]


@dataclass(frozen=True)
class Look:
    """Images compared with a codebook, cell by cell.

    Attributes:
        similarity: Cosine with every code (n, t, k), in [-1, 1].
        shares: Each code's share in the softmax at the cell (n, t, k), in [0, 1].
    """

    similarity: Float[Tensor, "n t k"]
    shares: Float[Tensor, "n t k"]

    def pooled(self) -> Presence:
        """The presence of every code: its largest share."""
        return Presence(*pooled_with_cells(self.shares))


def look(tokens: PatchTokens, codebook: Codebook, temperature: float) -> Look:
    """Similarities and shares of images.

    Args:
        tokens: Patch tokens without prefix tokens, any scale, float16 or float32.
        codebook: Codes on the tokens' device.
        temperature: Temperature of the softmax over codes, > 0.

    Raises:
        ShapeError: d differs from the codebook's. DataError: A token holds NaN or infinity.
    """
    similarity = codebook.similarity(tokens)
    return Look(similarity, competition(similarity, temperature, codebook.background(tokens, temperature)))


def presence(tokens: PatchTokens, codebook: Codebook, temperature: float) -> Presence:
    """Presence scores of images.

    Args:
        tokens: Patch tokens without prefix tokens, any scale, float16 or float32.
        codebook: Codes on the tokens' device.
        temperature: Temperature of the softmax over codes, > 0.

    Raises:
        ShapeError: d differs from the codebook's. DataError: A token holds NaN or infinity.
    """
    return look(tokens, codebook, temperature).pooled()
