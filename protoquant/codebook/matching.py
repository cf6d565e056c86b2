"""Finds the nearest code of every vector, by cosine or by Euclidean distance."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.config import Metric

__all__ = ["Matcher", "Metric", "nearest", "products"]

_SMALL, _ROUNDING = 1e-12, 1e-6
# Rows matched at once: their products with 2,048 codes take 8 MiB, which stay in the CPU's caches for the search.
_ROWS = 1_024
# oneDNN's float32 product for dense matrices; on some CPUs it takes half the time of torch.mm.
_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None  # type: ignore[no-untyped-call]


class Matcher:
    """Codes prepared for matching many vectors.

    Args:
        codes: Codes in the space of the vectors, any scale.
        metric: ``cosine`` compares directions; ``euclidean`` compares positions.
    """

    def __init__(self, codes: Float[Tensor, "k d"], metric: Metric) -> None:
        self._metric = metric
        self._norms = torch.linalg.vector_norm(codes, dim=1)
        if metric == "cosine":
            unit = float((self._norms - 1.0).abs().max()) <= _ROUNDING
            self._rows = codes if unit else codes / self._norms.clamp_min(_SMALL)[:, None]
            self._bias: Tensor | None = None
        else:
            # |v - c|^2 = |v|^2 - 2 (v . c - |c|^2 / 2): only the bracket depends on c
            self._rows, self._bias = codes, -0.5 * self._norms.square()

    def nearest(self, vectors: Float[Tensor, "b d"]) -> tuple[Int64[Tensor, " b"], Float[Tensor, " b"]]:
        """As :func:`nearest`."""
        indices, best = self._search(vectors)
        if self._bias is None:
            cosines: Tensor = best / torch.linalg.vector_norm(vectors, dim=1).clamp_min(_SMALL)
            return indices, cosines.clamp_(-1.0, 1.0)
        return indices, (2.0 * best - vectors.square().sum(dim=1)).clamp_max_(0.0)

    def cosines(
        self, vectors: Float[Tensor, "b d"], indices: Int64[Tensor, " b"], similarities: Float[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        """Turn the similarities of :meth:`nearest` into cosines, for either metric."""
        if self._bias is None:
            return similarities
        energies, norms = vectors.square().sum(dim=1), self._norms[indices]
        products: Tensor = 0.5 * (similarities + energies + norms.square())
        cosines: Tensor = products / (energies.sqrt() * norms).clamp_min(_SMALL)
        return cosines.clamp_(-1.0, 1.0)

    def _search(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        found = [_largest(products(rows, self._rows, self._bias)) for rows in torch.split(vectors, _ROWS)]
        indices, best = zip(*found, strict=True)
        return torch.cat(indices), torch.cat(best)


def nearest(
    vectors: Float[Tensor, "b d"], codes: Float[Tensor, "k d"], metric: Metric
) -> tuple[Int64[Tensor, " b"], Float[Tensor, " b"]]:
    """Find the nearest code of every vector; no gradient flows.

    Args:
        vectors: Vectors in the space of the codes, any scale, at least one.
        codes: Codes, any scale.
        metric: ``cosine`` compares directions; a zero vector has none and gets code 0 and similarity 0.
            ``euclidean`` compares positions.

    Returns:
        Code indices (b) in [0, k), ties to the lower one, and the similarity with that code (b): the cosine in
        [-1, 1], or the negative of the squared distance, at most 0.
    """
    return Matcher(codes.detach(), metric).nearest(vectors.detach())


def products(
    rows: Float[Tensor, "b d"], codes: Float[Tensor, "k d"], bias: Float[Tensor, " k"] | None = None
) -> Float[Tensor, "b k"]:
    """Inner products of all rows with all codes, plus a number for each code; differentiable.

    On the CPU oneDNN is used, which takes about half the time of the plain product.
    """
    if _LINEAR is None or rows.device.type != "cpu" or rows.dtype != torch.float32:
        return rows @ codes.T if bias is None else torch.addmm(bias, rows, codes.T)
    found: Tensor
    if torch.is_grad_enabled() and (rows.requires_grad or codes.requires_grad):
        found = _Products.apply(rows, codes)
        return found if bias is None else found + bias
    found = _LINEAR(rows, codes, bias, "none", [], "")
    return found


class _Products(torch.autograd.Function):
    """The derivative that oneDNN's operator lacks, as two more products."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(rows, codes)
        return products(rows, codes)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, codes = ctx.saved_tensors
        of_rows = products(error, codes.T) if ctx.needs_input_grad[0] else None
        of_codes = products(error.T, rows.T) if ctx.needs_input_grad[1] else None
        return of_rows, of_codes


def _largest(table: Float[Tensor, "b k"]) -> tuple[Int64[Tensor, " b"], Float[Tensor, " b"]]:
    """The largest value of each row, the first one on ties; numpy's search is ten times as fast as torch's."""
    if table.device.type == "cpu":
        indices = torch.from_numpy(table.numpy().argmax(axis=1))
        return indices, table.gather(1, indices[:, None])[:, 0]
    best, indices = table.max(dim=1)
    return indices, best
