"""The task head g, the frozen classifier that codes are trained through and judged by."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.probe import LinearProbe


@dataclass(frozen=True)
class TaskHead:
    """The linear probe, applied to a map whose tokens are replaced by codes.

    It is frozen: gradients pass through it to the tokens, and its own parameters never change.

    Attributes:
        probe: The classifier on mean-pooled patch tokens.
    """

    probe: LinearProbe

    def logits(self, quantised: Float[Tensor, "n t d"]) -> Float[Tensor, "n c"]:
        """Score every class from the mean of the quantised tokens.

        Args:
            quantised: Codes in place of patch tokens, in the space of the backbone (``FeatureNorm.undo``).

        Returns:
            Logits; for the tokens themselves they equal the probe's.

        Raises:
            ShapeError: d differs from the probe's.
        """
        return self.of_means(quantised.mean(dim=1))

    def of_means(self, means: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Score every class from means of quantised tokens (``QuantisedMean``)."""
        return self.probe.logits(means)
