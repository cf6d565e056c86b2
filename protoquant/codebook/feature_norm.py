"""The space in which tokens and codes are compared: unit vectors, centred or not."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.config import FeatureNormName
from protoquant.core.errors import DataError, ShapeError

_SMALL = 1e-12


@dataclass(frozen=True)
class FeatureNorm:
    """A fixed map from patch tokens to unit vectors; the scale of a token never matters.

    ``l2`` keeps the direction of a token. ``center_l2`` takes from that direction the mean direction of
    the train tokens, which all tokens share and which tells none apart, and keeps the direction of the rest.

    Attributes:
        name: Which map.
        mean: Mean unit train token (d), present for ``center_l2`` alone.
    """

    name: FeatureNormName
    mean: Float[Tensor, " d"] | None = None

    def __post_init__(self) -> None:
        if (self.mean is not None) != (self.name == "center_l2"):
            raise ShapeError(f"feature_norm {self.name} {'lacks its' if self.mean is None else 'takes no'} mean")

    def apply(self, tokens: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
        """Map tokens to unit vectors.

        Args:
            tokens: Patch tokens without prefix tokens, any scale, float16 or float32.

        Returns:
            float32 vectors of norm 1; a zero token has no direction and stays zero.

        Raises:
            DataError: A token holds NaN or infinity.
        """
        units = _unit(tokens.to(torch.float32))
        if self.mean is None:
            return units
        centred = _unit(units - self.mean)
        return centred.masked_fill_(~units.any(dim=-1, keepdim=True), 0.0)

    def to(self, device: torch.device) -> "FeatureNorm":
        """Copy to a device."""
        return FeatureNorm(self.name, None if self.mean is None else self.mean.to(device))


def fit_feature_norm(
    name: FeatureNormName, batches: Iterable[Float[Tensor, "b d"]], device: torch.device
) -> FeatureNorm:
    """Measure what the map needs in one pass over the train tokens.

    Args:
        name: Which map; ``l2`` needs no pass.
        batches: Flat train tokens.
        device: Where to compute.

    Returns:
        The map, on the device.
    """
    if name == "l2":
        return FeatureNorm(name)
    plain, total, count = FeatureNorm("l2"), torch.zeros((), dtype=torch.float64, device=device), 0
    for batch in batches:
        total = total + plain.apply(batch.to(device)).sum(dim=0, dtype=torch.float64)
        count += len(batch)
    return FeatureNorm(name, (total / count).to(torch.float32))


def _unit(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    if not bool(torch.isfinite(norms).all()):
        raise DataError("a patch token holds NaN or infinity; run extract again with dtype float32 or another backbone")
    return vectors / norms.clamp_min(_SMALL)
