"""Objectives for training the head by gradient: cross-entropy of its logits, or of their logarithm as in PIP-Net."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

ObjectiveName = Literal["plain", "log"]


@dataclass(frozen=True)
class Loss:
    """Cross-entropy of a batch.

    Attributes:
        value: Mean over images, in nats.
        error: Derivative with respect to every logit (n, c).
    """

    value: float
    error: Float[Tensor, "n c"]


def objective_logits(logits: Float[Tensor, "n c"], objective: ObjectiveName) -> Float[Tensor, "n c"]:
    """The logits to train on: the plain logits, or ln(logits^2 + 1).

    The logarithm is for training only; evaluation always uses the plain logits. For logits >= 0, as a non-negative
    head without bias gives, it keeps their order and so the predicted class, but not the probabilities.

    Source:
        Nauta et al. 2023 (PIP-Net), the classification loss, with m = 2.
    """
    return logits if objective == "plain" else logits.square().log1p()


def cross_entropy(logits: Float[Tensor, "n c"], targets: Float[Tensor, "n c"], objective: ObjectiveName) -> Loss:
    """Mean cross-entropy of soft targets, and its derivative, derived by hand.

    A row of targets that sums to w counts w times, as an image of that weight.

    With x = objective_logits(z) and p = softmax(x): dL/dz = (p * sum(y) - y) * dx/dz / n, where dx/dz is 1, or
    2 z / (z^2 + 1) for the logarithm.

    Args:
        logits: Plain logits of the head.
        targets: Soft labels, >= 0, with rows that sum to 1, or to the image's weight.
        objective: ``plain`` or ``log``.
    """
    seen = objective_logits(logits, objective)
    logs = torch.log_softmax(seen, dim=1)
    value = float(-(targets * logs).sum(dim=1).double().mean())
    error = (logs.exp() * targets.sum(dim=1, keepdim=True) - targets) / len(logits)
    if objective == "log":
        error = error * (2 * logits / (logits.square() + 1))
    return Loss(value, error)
