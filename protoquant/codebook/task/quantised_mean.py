"""The mean of an image's quantised tokens, written as a linear map of the codes."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.feature_norm import FeatureNorm


@dataclass(frozen=True)
class QuantisedMean:
    """What the task head sees of quantised images, for codes that may still move.

    Each token is replaced by its code and mapped back to the space of the backbone. ``FeatureNorm.undo`` only
    stretches, turns and shifts a code, so the mean over an image is ``weights @ codes``, turned, plus ``rest``.
    Value and gradient are those of building every quantised token, at the price of k numbers an image.

    Attributes:
        weights: How much each code gives to the mean of each image (n, k).
        rest: The part of the mean that no code decides (n, d).
        turn: The matrix that undoes whitening (d, d), else None.
    """

    weights: Float[Tensor, "n k"]
    rest: Float[Tensor, "n d"]
    turn: Float[Tensor, "d d"] | None

    @classmethod
    def measure(
        cls,
        tokens: Float[Tensor, "n t d"],
        vectors: Float[Tensor, "n t d"],
        indices: Int64[Tensor, "n t"],
        *,
        norm: FeatureNorm,
        k: int,
        lengths: Float[Tensor, "n t"] | None = None,
    ) -> "QuantisedMean":
        """Collect the shares of the codes.

        Args:
            tokens: Patch tokens of whole images.
            vectors: The same in the space of the codes, ``norm.apply(tokens)``.
            indices: The code of each token.
            norm: The map between the two spaces.
            k: Number of codes.
            lengths: A factor for each token's code; None takes codes as they are.
        """
        t = tokens.shape[1]
        stretch = norm.stretch(tokens)[..., 0]
        weights = tokens.new_zeros(len(tokens), k)
        weights.scatter_add_(1, indices, stretch if lengths is None else stretch * lengths)
        own = (stretch[:, None, :] @ vectors)[:, 0] / t
        turn = None if norm.inverse is None else norm.inverse.to(tokens)
        # undo(vectors, tokens) is the tokens themselves, which tells what is added whatever the code
        return cls(weights / t, tokens.mean(dim=1) - (own if turn is None else own @ turn), turn)

    def of(self, codes: Float[Tensor, "k d"]) -> Float[Tensor, "n d"]:
        """The mean quantised token of every image, in the space of the backbone; gradients flow to the codes."""
        mixed = self.weights @ codes
        return self.rest + (mixed if self.turn is None else mixed @ self.turn)
