"""Data-independent initial codes, drawn by the schemes of network initialisation."""

from math import ceil, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.config import Drawn

_SPARSITY, _DEVIATION = 0.1, 0.01


def drawn_codes(name: Drawn, k: int, d: int, generator: torch.Generator) -> Float[Tensor, "k d"]:
    """Draw codes in the space of the feature norm, independently of the tokens.

    - ``uniform``: numbers uniform in [0, 1): all codes in one orthant, mean cosine of two codes 0.75.
    - ``normal``: numbers from N(0, 1).
    - ``orthogonal``: rows orthonormal for k <= d; otherwise columns orthonormal and rows of mean squared norm d / k.
    - ``xavier_uniform``: numbers uniform in [-a, a], a = sqrt(6 / (k + d)).
    - ``xavier_normal``: numbers from N(0, 2 / (k + d)).
    - ``constant``: ones: all codes are equal, so code 0 has all tokens until dead codes are revived.
    - ``sparse``: a tenth of each column zero, rounded up, the rest from N(0, 0.0001).

    Args:
        name: Name of the scheme.
        k: Number of codes.
        d: Dimension of a code.
        generator: Decides the draw; on the CPU.

    Returns:
        Codes as drawn, float32, on the CPU; a row of ``sparse`` can be zero if d is small.

    Source:
        Saxe et al. 2013 (orthogonal); Glorot and Bengio 2010 (xavier); Martens 2010 (sparse).
    """
    if name == "constant":
        return torch.ones(k, d)
    if name in {"uniform", "xavier_uniform"}:
        uniform = torch.rand(k, d, generator=generator)
        return uniform if name == "uniform" else (2.0 * uniform - 1.0) * sqrt(6.0 / (k + d))
    normal = torch.randn(k, d, generator=generator)
    if name == "orthogonal":
        return _orthogonal(normal)
    if name == "sparse":
        order = torch.rand(k, d, generator=generator).argsort(dim=0)
        return (normal * _DEVIATION).scatter_(0, order[: ceil(_SPARSITY * k)], 0.0)
    return normal * sqrt(2.0 / (k + d)) if name == "xavier_normal" else normal


def _orthogonal(normal: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """The orthogonal factor of a normal matrix, signed so that it is uniform over all such matrices."""
    wide = normal.shape[0] < normal.shape[1]
    factor, triangle = torch.linalg.qr(normal.T if wide else normal)
    signed: Tensor = factor * triangle.diagonal().sign()
    return signed.T.contiguous() if wide else signed
