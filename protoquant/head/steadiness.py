"""Steadiness: a loss that keeps the order of an image's strongest contributions when the image changes a little."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

PLACES = 3
"""Places of the order that count: the first reason, the second and the third."""
_COMPARED = 8
"""Contributions among which each place is decided."""


def order_loss(
    plain: Float[Tensor, "b k"], view: Float[Tensor, "b k"], weights: Float[Tensor, "c k"], labels: Int64[Tensor, " b"]
) -> Float[Tensor, ""]:
    """How surprising the order of one image's contributions is, given those of its other view, in nats; symmetric.

    For the class of the image, the strongest contributions of one view must be the strongest of the other in the same
    order: the negative log of the Plackett-Luce probability of that order, whose place r counts 1 / r^2. It is small if
    the order is the same and the gaps are wide.

    Args:
        plain: Presence of every prototype in the images.
        view: Presence in augmented views of the same images.
        weights: The head, >= 0.
        labels: Class of each image.

    Source:
        Xia et al. 2008 (ListMLE), with discounted places.
    """
    own = weights[labels]
    pair = plain * own, view * own
    first, second = (_of_order(values, _order(other)) for values, other in (pair, pair[::-1]))
    return (first + second) / 2


def _order(contributions: Float[Tensor, "b k"]) -> Int64[Tensor, "b m"]:
    return contributions.detach().topk(min(_COMPARED, contributions.shape[1]), dim=1).indices


def _of_order(contributions: Float[Tensor, "b k"], order: Int64[Tensor, "b m"]) -> Float[Tensor, ""]:
    values = contributions.gather(1, order)
    losses = [
        (torch.logsumexp(values[:, place:], dim=1) - values[:, place]).mean() / (place + 1) ** 2
        for place in range(min(PLACES, values.shape[1]))
    ]
    return torch.stack(losses).sum()
