"""The mean of an image's quantised tokens, written as a linear map of the codes."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.space.feature_norm import FeatureNorm


@dataclass(frozen=True)
class QuantisedMean:
    """The task head's input for quantised images, as a function of codes that may still move.

    Each token is replaced by its code and mapped back to the space of the backbone. ``FeatureNorm.undo`` only
    stretches, turns and shifts a code, so the mean over an image is ``weights @ codes``, turned, plus ``rest``.
    Value and gradient are the same as if every quantised token were built, but only k numbers per image are needed.

    Attributes:
        weights: Weight of each code in the mean of each image (n, k).
        rest: The part of the mean that does not depend on the codes (n, d).
        turn: The matrix that undoes whitening (d, d); None without whitening.
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
        """Compute the weights of the codes and the rest.

        Args:
            tokens: Patch tokens of whole images.
            vectors: The same tokens in the space of the codes, ``norm.apply(tokens)``.
            indices: Index of each token's code.
            norm: The map between the two spaces.
            k: Number of codes.
            lengths: A factor for each token's code; None to use codes as they are.
        """
        t = tokens.shape[1]
        stretch = norm.stretch(tokens)[..., 0]
        weights = tokens.new_zeros(len(tokens), k)
        weights.scatter_add_(1, indices, stretch if lengths is None else stretch * lengths)
        own = (stretch[:, None, :] @ vectors)[:, 0] / t
        turn = None if norm.inverse is None else norm.inverse.to(tokens)
        # undo(vectors, tokens) is the tokens themselves; the difference is the part that does not depend on the codes
        return cls(weights / t, tokens.mean(dim=1) - (own if turn is None else own @ turn), turn)

    def of(self, codes: Float[Tensor, "k d"]) -> Float[Tensor, "n d"]:
        """The mean quantised token of every image, in the space of the backbone; gradients flow to the codes."""
        mixed = self.weights @ codes
        return self.rest + (mixed if self.turn is None else mixed @ self.turn)
