"""Rest codes, which stand in the softmax for the codes that pruning removed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.core.errors import ArtifactError

_CODES, _WEIGHTS = "rest", "rest_weights"


@dataclass(frozen=True)
class Rest:
    """A few codes in place of many: they compete at every cell but have no presence of their own.

    Attributes:
        codes: Unit vectors (m, d), float32.
        weights: Log of the number of codes that each stands for (m), float32.
    """

    codes: Float[Tensor, "m d"]
    weights: Float[Tensor, " m"]

    def to(self, device: torch.device) -> Self:
        """Copy to a device."""
        return type(self)(self.codes.to(device), self.weights.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {_CODES: self.codes, _WEIGHTS: self.weights}

    @classmethod
    def split_off(cls, tensors: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], Self | None]:
        """Separate the rest codes from a codebook's tensors.

        Args:
            tensors: Tensors of a codebook, with both rest tensors or neither.
            where: Name of the source in error messages.

        Returns:
            The other tensors, and the rest codes if there are any.

        Raises:
            ArtifactError: One of the two is missing, or they are not finite float32 with unit rows and matching shapes.
        """
        others = {name: tensor for name, tensor in tensors.items() if name not in {_CODES, _WEIGHTS}}
        found = {name: tensor for name, tensor in tensors.items() if name in {_CODES, _WEIGHTS}}
        if not found:
            return others, None
        again = "run the stage that wrote it again"
        if len(found) == 1:
            raise ArtifactError(f"{where} must hold {_CODES} and {_WEIGHTS} or neither, got {min(found)}; {again}")
        codes, weights = found[_CODES], found[_WEIGHTS]
        plain = codes.dtype == weights.dtype == torch.float32 and codes.ndim == 2 and 0 not in codes.shape
        fits = plain and weights.shape == codes.shape[:1] and codes.shape[1:] == others.get("codes", codes).shape[1:]
        if not fits or not bool(weights.isfinite().all()):
            raise ArtifactError(
                f"{where}: {_CODES} and {_WEIGHTS} must be finite float32 (m, d) and (m), got {tuple(codes.shape)} "
                f"and {tuple(weights.shape)}; {again}"
            )
        if not torch.allclose(torch.linalg.vector_norm(codes, dim=1), torch.ones(1, device=codes.device), atol=1e-3):
            raise ArtifactError(f"{where}: every rest code must have norm 1; {again}")
        return others, cls(codes, weights)
