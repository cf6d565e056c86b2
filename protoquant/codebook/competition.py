"""The competition of codes: their softmax at every grid cell, and the presence that is pooled from it.

Every share of this library is computed here, from cosines. Whoever has tokens and a codebook calls ``look`` or
``presence`` of :mod:`protoquant.model.presence`, which do not forget the rest codes.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_MOST = 1 - 1e-6
"""The share of a cell that a code can give up, at most: the other codes have to be something."""


def competition(
    similarity: Float[Tensor, "n t k"], temperature: float, background: Float[Tensor, "n t"] | None = None
) -> Float[Tensor, "n t k"]:
    """Softmax over the codes at every cell: a code counts as far as it beats the others there.

    Args:
        similarity: Cosines in [-1, 1].
        temperature: > 0; the lower, the more the best code takes all.
        background: What rest codes add to the softmax, from :func:`rest_total`; None without rest codes.

    Returns:
        Shares in [0, 1] that sum to 1 over the codes, or to less by the share of the background.

    Source:
        ProtoQuant (arXiv 2602.06592): softmax over prototypes.
    """
    scaled = similarity / temperature
    return torch.softmax(scaled, dim=-1) if background is None else _shares(scaled, _total(scaled, background))


def log_competition(similarity: Float[Tensor, "*any k"], temperature: float) -> Float[Tensor, "*any k"]:
    """Log of :func:`competition` without rest codes, exact where a share is too small for a float."""
    return torch.log_softmax(similarity / temperature, dim=-1)


def log_total(
    similarity: Float[Tensor, "n t k"], temperature: float, background: Float[Tensor, "n t"] | None = None
) -> Float[Tensor, "n t"]:
    """Log of what all that compete for a cell add up to, the divisor of the softmax."""
    return _total(similarity / temperature, background)


def rest_total(
    similarity: Float[Tensor, "n t m"], temperature: float, weights: Float[Tensor, " m"]
) -> Float[Tensor, "n t"]:
    """Log of what rest codes add up to at every cell.

    Args:
        similarity: Cosines with the rest codes, in [-1, 1].
        temperature: As for :func:`competition`.
        weights: Log of how many codes each stands for.
    """
    return torch.logsumexp(similarity / temperature + weights, dim=-1)


def share_of(
    similarity: Float[Tensor, "n t m"], temperature: float, total: Float[Tensor, "n t"]
) -> Float[Tensor, "n t m"]:
    """Share of vectors in cells where it is known what all add up to, whether or not they are among these.

    Args:
        similarity: Cosines with the vectors, in [-1, 1].
        temperature: As for :func:`competition`.
        total: From :func:`log_total`.
    """
    return _shares(similarity / temperature, total)


def share_instead(
    similarity: Float[Tensor, "n t r m"], temperature: float, total: Float[Tensor, "n t"], own: Float[Tensor, "n t r"]
) -> Float[Tensor, "n t r m"]:
    """Share that other vectors would have, each in the place of a code while all other codes stay.

    With s the share of the code, the others add up to total + log(1 - s), and the softmax of one against the rest is
    the logistic function of their difference.

    Args:
        similarity: Cosines with m vectors for each of r codes, in [-1, 1].
        temperature: As for :func:`competition`.
        total: From :func:`log_total`.
        own: Share of each code; where it takes all of a cell, all but one part in a million counts.
    """
    others = total[..., None] + torch.log1p(-own.clamp_max(_MOST))
    return torch.sigmoid(similarity / temperature - others[..., None])


def pooled(shares: Float[Tensor, "n t *any"]) -> Float[Tensor, " n *any"]:
    """Presence: the largest share that a code has of any cell; a gradient goes to equal cells alike.

    Source:
        ProtoQuant (arXiv 2602.06592): maximum over locations.
    """
    return shares.amax(dim=1)


def pooled_with_cells(shares: Float[Tensor, "n t k"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """As :func:`pooled`, with the grid cell that gave it, row by row; the first of equals."""
    scores, cells = shares.max(dim=1)
    return scores, cells


def _total(scaled: Float[Tensor, "n t k"], background: Float[Tensor, "n t"] | None) -> Float[Tensor, "n t"]:
    total = torch.logsumexp(scaled, dim=-1)
    return total if background is None else torch.logaddexp(total, background)


def _shares(scaled: Float[Tensor, "n t m"], total: Float[Tensor, "n t"]) -> Float[Tensor, "n t m"]:
    return (scaled - total[..., None]).exp_()
