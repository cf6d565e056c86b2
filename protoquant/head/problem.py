"""What the head is fitted to, and what a fit gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from protoquant.core.errors import DataError, ShapeError


@dataclass(frozen=True)
class Solution:
    """One solved penalty.

    Attributes:
        penalty: The L1 penalty (>= 0).
        weights: The head (c, k), exactly zero where a code is not used.
        loss: Mean cross-entropy, in nats.
        objective: loss + penalty / c * sum(weights).
        residual: Largest violation of the optimality conditions, on the scale of the penalty.
        iterations: Proximal steps taken.
    """

    penalty: float
    weights: Float[Tensor, "c k"]
    loss: float
    objective: float
    residual: float
    iterations: int


@dataclass(frozen=True)
class Limits:
    """When the solver may stop.

    Attributes:
        tolerance: Once the residual is at most this share of the penalty.
        max_iterations: After this many proximal steps; the residual tells whether they were enough.
    """

    tolerance: float
    max_iterations: int


class Problem:
    """Scores and labels of the images a head is fitted on.

    Args:
        scores: Presence scores (n, k), float32 or float64; the solver computes in their dtype.
        labels: Class of every image (n,), in [0, classes).
        classes: Number of classes c, at least 2.

    Raises:
        ShapeError: Labels and scores count different images. DataError: a score is NaN or
            infinite, a label is out of range, or there is no image.
    """

    def __init__(self, scores: Float[Tensor, "n k"], labels: Int[Tensor, " n"], classes: int) -> None:
        n, k = scores.shape
        if labels.shape != (n,):
            raise ShapeError(f"the head needs one label per row of scores: expected ({n},), got {tuple(labels.shape)}")
        if n == 0 or classes < 2:
            raise DataError(f"the head needs at least 1 image and 2 classes, got {n} images and {classes} classes")
        if not bool(torch.isfinite(scores).all()):
            raise DataError("a presence score is NaN or infinite; check the features and the temperature")
        if int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise DataError(f"labels must lie in [0, {classes}), got {int(labels.min())}..{int(labels.max())}")
        self.scores = scores
        self.labels = labels
        self.classes = classes
        self.n, self.k = n, k
        self._rows = torch.arange(n, device=scores.device)

    def on(self, columns: Int[Tensor, " m"]) -> Problem:
        """The same problem with only some of the codes."""
        return Problem(self.scores[:, columns], self.labels, self.classes)

    def zeros(self) -> Float[Tensor, "c k"]:
        """A head that uses no code."""
        return self.scores.new_zeros(self.classes, self.k)

    def loss(self, logits: Float[Tensor, "n c"]) -> float:
        """Mean cross-entropy in nats."""
        own = logits[self._rows, self.labels].double()
        return float((torch.logsumexp(logits, dim=1).double() - own).mean())

    def gradient(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "c k"]:
        """Gradient of the mean cross-entropy, times c: on the scale of the penalty."""
        return self.loss_and_gradient(logits)[1]

    def loss_and_gradient(self, logits: Float[Tensor, "n c"]) -> tuple[float, Float[Tensor, "c k"]]:
        """Both at once, with one pass of exponentials."""
        total = torch.logsumexp(logits, dim=1)
        own = logits[self._rows, self.labels].double()
        error = (logits - total[:, None]).exp_()
        error[self._rows, self.labels] -= 1
        return float((total.double() - own).mean()), (error.T @ self.scores) * (self.classes / self.n)
