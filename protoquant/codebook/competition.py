"""The competition of codes: their softmax at every grid cell, and the presence that is pooled from it.

Every share of this library is computed here, from cosines. Code that has tokens and a codebook should call ``look`` or
``presence`` of :mod:`protoquant.model.presence`, which take the rest codes into account.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_MOST = 1 - 1e-6
"""The largest share of a cell that a code is taken to have: some share must be left for the other codes."""


def competition(
    similarity: Float[Tensor, "n t k"], temperature: float, background: Float[Tensor, "n t"] | None = None
) -> Float[Tensor, "n t k"]:
    """Softmax over the codes at every cell: a code's share shows how far it beats the others there.

    Args:
        similarity: Cosines in [-1, 1].
        temperature: Temperature, > 0; the lower it is, the more of the cell goes to the best code.
        background: The rest codes' part of the softmax, from :func:`rest_total`; None without rest codes.

    Returns:
        Shares in [0, 1] that sum to 1 over the codes, less the share of the background.

    Source:
        ProtoQuant (arXiv 2602.06592): softmax over prototypes.
    """
    scaled = similarity / temperature
    return torch.softmax(scaled, dim=-1) if background is None else _shares(scaled, _total(scaled, background))


def log_competition(similarity: Float[Tensor, "*any k"], temperature: float) -> Float[Tensor, "*any k"]:
    """Log of :func:`competition` without rest codes, accurate even if a share underflows."""
    return torch.log_softmax(similarity / temperature, dim=-1)


def log_total(
    similarity: Float[Tensor, "n t k"], temperature: float, background: Float[Tensor, "n t"] | None = None
) -> Float[Tensor, "n t"]:
    """Log of the divisor of the softmax: the sum over everything that competes for a cell."""
    return _total(similarity / temperature, background)


def rest_total(
    similarity: Float[Tensor, "n t m"], temperature: float, weights: Float[Tensor, " m"]
) -> Float[Tensor, "n t"]:
    """Log of the sum over the rest codes at every cell.

    Args:
        similarity: Cosines with the rest codes, in [-1, 1].
        temperature: As for :func:`competition`.
        weights: Log of the number of codes that each rest code stands for.
    """
    return torch.logsumexp(similarity / temperature + weights, dim=-1)


def share_of(
    similarity: Float[Tensor, "n t m"], temperature: float, total: Float[Tensor, "n t"]
) -> Float[Tensor, "n t m"]:
    """Shares of vectors in cells whose softmax divisor is known; the vectors need not be part of it.

    Args:
        similarity: Cosines with the vectors, in [-1, 1].
        temperature: As for :func:`competition`.
        total: From :func:`log_total`.
    """
    return _shares(similarity / temperature, total)


def share_instead(
    similarity: Float[Tensor, "n t r m"], temperature: float, total: Float[Tensor, "n t"], own: Float[Tensor, "n t r"]
) -> Float[Tensor, "n t r m"]:
    """Shares that other vectors would have, each in place of one code while all other codes stay.

    With s the share of the code, the others add up to total + log(1 - s), and the softmax of one against the rest is
    the logistic function of their difference.

    Args:
        similarity: Cosines with m vectors for each of r codes, in [-1, 1].
        temperature: As for :func:`competition`.
        total: From :func:`log_total`.
        own: Share of each code; it is capped at one millionth below 1.
    """
    others = total[..., None] + torch.log1p(-own.clamp_max(_MOST))
    return torch.sigmoid(similarity / temperature - others[..., None])


def pooled(shares: Float[Tensor, "n t *any"]) -> Float[Tensor, " n *any"]:
    """Presence: the largest share that a code has of any cell; equal cells share the gradient evenly.

    Source:
        ProtoQuant (arXiv 2602.06592): maximum over locations.
    """
    return shares.amax(dim=1)


def pooled_softmax(scaled: Float[Tensor, "n t k"]) -> Float[Tensor, "n k"]:
    """Presence from similarities divided by the temperature: the maximum over cells of the softmax over codes.

    It is what :func:`pooled` makes of :func:`competition`, for training, with a cheaper derivative: all that flows
    back enters at one cell for each code; of equal cells, at the first.
    """
    presence: Tensor = _PooledSoftmax.apply(scaled)
    return presence


class _PooledSoftmax(torch.autograd.Function):
    """With g the error of a presence p at its cell, that of a logit there is g p less its share of their sum."""

    @staticmethod
    def forward(ctx: Any, scaled: Tensor) -> Tensor:
        shares = torch.softmax(scaled, dim=-1)
        presence, cells = shares.max(dim=1)
        ctx.save_for_backward(shares, presence, cells)
        return presence

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> Tensor:
        shares, presence, cells = ctx.saved_tensors
        entering = torch.zeros_like(shares).scatter_(1, cells[:, None], (error * presence)[:, None])
        return entering.addcmul_(shares, entering.sum(dim=-1, keepdim=True), value=-1.0)


def pooled_with_cells(shares: Float[Tensor, "n t k"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """As :func:`pooled`, with the index of the cell (row by row) that has the largest share; the first one on ties."""
    scores, cells = shares.max(dim=1)
    return scores, cells


def _total(scaled: Float[Tensor, "n t k"], background: Float[Tensor, "n t"] | None) -> Float[Tensor, "n t"]:
    total = torch.logsumexp(scaled, dim=-1)
    return total if background is None else torch.logaddexp(total, background)


def _shares(scaled: Float[Tensor, "n t m"], total: Float[Tensor, "n t"]) -> Float[Tensor, "n t m"]:
    return (scaled - total[..., None]).exp_()
