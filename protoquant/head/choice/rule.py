"""The rules that choose a head by held-out answers; this module fits nothing but the scale of logits."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from protoquant.core.errors import DataError
from protoquant.head.class_weights import weighed

SCALES = (1 / 16, 16.0)
"""Bounds of the factor of the logits: a head that is right about every image would ask for an infinite one."""

_HALVINGS = 40
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Ruling:
    """A rule's answer.

    Attributes:
        place: The chosen candidate.
        best: The candidate that it was compared with: of least log-loss, or of highest accuracy.
        differences: Mean log-loss of each candidate above that of ``best`` (m), in nats.
        errors: Standard error of each of these paired differences (m), in nats.
    """

    place: int
    best: int
    differences: Float[Tensor, " m"]
    errors: Float[Tensor, " m"]


def log_losses(logits: Float[Tensor, "m n c"], labels: Int64[Tensor, " n"]) -> Float[Tensor, "m n"]:
    """Cross-entropy of every image under every candidate, in nats."""
    right = labels[None, :, None].expand(len(logits), -1, 1)
    return torch.logsumexp(logits, dim=2) - logits.gather(2, right)[..., 0]


def fitted_scales(
    logits: Float[Tensor, "m n c"], labels: Int64[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
) -> Float[Tensor, " m"]:
    """The factor of each candidate's logits with the least mean cross-entropy, which is convex in it.

    With weights the cross-entropy of each image counts by its weight.

    It is 1 over the temperature of temperature scaling. The sign of the derivative is bisected in the log of the
    factor, within ``SCALES``; logits that tell nothing give the largest.

    Source:
        Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    low, high = (torch.full((len(logits),), bound, dtype=logits.dtype).log() for bound in SCALES)
    own = logits.gather(2, labels[None, :, None].expand(len(logits), -1, 1))[..., 0]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        chances = torch.softmax(logits * middle.exp()[:, None, None], dim=2)
        rising = over_images((chances * logits).sum(dim=2) - own, weights).mean(dim=1) > 0
        low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
    return ((low + high) / 2).exp()


def over_images(values: Float[Tensor, "m n"], weights: Float[Tensor, " n"] | None) -> Float[Tensor, "m n"]:
    """Values of every image under every candidate, each times the image's weight: their mean is the weighted mean."""
    return weighed(values.T, weights).T


def calibrated_losses(
    logits: Float[Tensor, "m n c"],
    labels: Int64[Tensor, " n"],
    fold_of: Int64[Tensor, " n"],
    weights: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, "m n"]:
    """Log-losses of one repeat, the logits of each fold scaled by the factor that suits those of all other folds.

    Args:
        logits: Logits of each image from the heads of the fold that held it out, float64.
        labels: Labels.
        fold_of: The fold that held each image out; at least two folds.
        weights: How much each image counts where a factor is fitted; the losses themselves are not weighed.
    """
    losses = torch.empty(logits.shape[:2], dtype=logits.dtype)
    for fold in torch.unique(fold_of).tolist():
        here = fold_of == fold
        scales = fitted_scales(logits[:, ~here], labels[~here], None if weights is None else weights[~here])
        losses[:, here] = log_losses(logits[:, here] * scales[:, None, None], labels[here])
    return losses


def one_standard_error(losses: Float[Tensor, "m n"], sizes: Float[Tensor, " m"], allowed: Bool[Tensor, " m"]) -> Ruling:
    """Take the smallest head whose mean log-loss exceeds the least by at most a standard error of that difference.

    The standard error is that of the mean of paired differences over images, so it is small where two heads err on
    the same images. Of equally small heads the one of least log-loss is taken, then the first.

    Args:
        losses: Log-loss of every image under every candidate, averaged over repeats; at least two images. With class
            weights, times the image's weight, so that a mean over images is one over classes.
        sizes: Size of every candidate.
        allowed: Candidates that may be taken; the others are not the best either.

    Raises:
        DataError: No candidate is allowed.

    Source:
        Breiman et al. 1984, section 3.4.3 (the one-standard-error rule), with a paired difference.
    """
    means, places = losses.mean(dim=1), _places(allowed)
    best = min(places, key=lambda place: (float(means[place]), place))
    differences, errors = paired_differences(losses, best)
    near = [place for place in places if float(differences[place]) <= float(errors[place]) + _ROUNDING]
    place = min(near, key=lambda one: (float(sizes[one]), float(means[one]), one))
    return Ruling(place, best, differences, errors)


def within_tolerance(
    losses: Float[Tensor, "m n"],
    accuracies: Float[Tensor, " m"],
    sizes: Float[Tensor, " m"],
    allowed: Bool[Tensor, " m"],
    tolerance: float,
) -> Ruling:
    """Take the smallest head within a tolerance of the best accuracy.

    Of equally small heads the one of least log-loss is taken, then the first.

    Args:
        losses: As for :func:`one_standard_error`; they break ties alone.
        accuracies: Share of images that every candidate answers rightly, in [0, 1].
        sizes: Size of every candidate.
        allowed: Candidates that may be taken; the others are not the best either.
        tolerance: Accuracy given up for sparsity, in [0, 1].

    Raises:
        DataError: No candidate is allowed.
    """
    means, places = losses.mean(dim=1), _places(allowed)
    best = min(places, key=lambda place: (-float(accuracies[place]), float(means[place]), place))
    differences, errors = paired_differences(losses, best)
    floor = float(accuracies[best]) - tolerance - _ROUNDING
    near = [place for place in places if float(accuracies[place]) >= floor]
    place = min(near, key=lambda one: (float(sizes[one]), float(means[one]), one))
    return Ruling(place, best, differences, errors)


def paired_differences(losses: Float[Tensor, "m n"], best: int) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Mean difference of every candidate's losses from those of one of them, and its standard error over images."""
    paired = losses - losses[best]
    return paired.mean(dim=1), paired.std(dim=1, correction=1) / losses.shape[1] ** 0.5


def smoothed(values: Float[Tensor, " e"], window: int) -> Float[Tensor, " e"]:
    """Centred moving average; towards an end the window shrinks on both sides alike, so a slope is not bent there.

    Args:
        values: One value for each epoch.
        window: Values of a mean, odd.
    """
    half, count = window // 2, len(values)
    reaches = [min(half, place, count - 1 - place) for place in range(count)]
    means = [values[place - reach : place + reach + 1].mean() for place, reach in enumerate(reaches)]
    return torch.stack(means)


def _places(allowed: Bool[Tensor, " m"]) -> list[int]:
    places: list[int] = allowed.nonzero().flatten().tolist()
    if not places:
        raise DataError("no head may be taken: all are empty or above train.max_class_size; raise it")
    return places
