"""The fitting problem of a head (scores and labels), its losses and derivatives, and the solution of a fit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from protoquant.core.errors import DataError, ShapeError
from protoquant.distributed.ranks import sum_over_ranks, totals_over_ranks
from protoquant.head.class_weights import weighed

WHOLE = 1 << 25
"""Maximum number of scores or logits held in memory at once (128 MiB of float32); larger problems use row blocks."""

BLOCK = 1 << 22
"""Approximate number of scores or logits in one block of rows (16 MiB of float32)."""


@dataclass(frozen=True)
class Solution:
    """The solution for one penalty.

    Attributes:
        penalty: The L1 penalty, >= 0.
        weights: The head (c, k), exactly zero where a code is not used.
        loss: Mean cross-entropy, in nats.
        objective: loss + penalty / c * sum(weights) + ridge / (2 c) * sum(weights^2).
        residual: Largest violation of the optimality conditions, on the scale of the penalty.
        gap: Duality gap in nats: the objective is at most this far above the minimum.
        iterations: Number of steps taken.
    """

    penalty: float
    weights: Float[Tensor, "c k"]
    loss: float
    objective: float
    residual: float
    gap: float
    iterations: int


@dataclass(frozen=True)
class Limits:
    """When the solver may stop.

    Attributes:
        tolerance: Stop once the residual is at most this share of the penalty.
        max_iterations: Stop after this many steps; the residual shows whether they sufficed.
    """

    tolerance: float
    max_iterations: int


class Problem:
    """Scores and labels of the images a head is fitted on.

    Small problems are held whole, and their logits are carried from step to step. Large ones are processed in blocks
    of rows, and logits are recomputed from the weights when needed; memory then does not grow with the number of
    images, and scores may be in a memory-mapped file. Both give the same numbers up to rounding.
    In a distributed run every process passes its own images; losses and gradients are over the images of all.

    Args:
        scores: Presence scores (n, k), float16, float32 or float64; the solver computes in their dtype, or in
            float32 for float16.
        labels: Class of every image (n,), in [0, classes).
        classes: Number of classes c, at least 2.
        targets: Soft labels (n, c), >= 0, with rows that sum to 1, to use instead of one-hot labels.
        weights: How much each image counts in every mean over images (n,), > 0, of mean 1 over the images of all
            processes; None: all count the same.
        block: Rows per block; 0 for all rows; None for all rows unless the problem is large.

    Raises:
        ShapeError: Labels or targets have another number of images than the scores.
        DataError: A score is NaN or infinite, a label is out of range, targets are not shares, or there is no image.
    """

    def __init__(
        self,
        scores: Float[Tensor, "n k"],
        labels: Int[Tensor, " n"],
        classes: int,
        targets: Float[Tensor, "n c"] | None = None,
        *,
        weights: Float[Tensor, " n"] | None = None,
        block: int | None = None,
    ) -> None:
        self.n, self.k = scores.shape
        self.labels, self.classes, self.targets, self.weights = labels, classes, targets, weights
        self.dtype = torch.float32 if scores.dtype == torch.float16 else scores.dtype
        wide = max(self.k, classes)
        automatic = 0 if self.n * wide <= WHOLE else max(1, BLOCK // wide)
        self.block = automatic if block is None else block
        self.stored = scores if self.block else scores.to(self.dtype)
        self.columns: Int[Tensor, " m"] | None = None
        self._check()
        self.images = round(totals_over_ranks(self.n)[0])

    def _check(self) -> None:
        n, c, labels = self.n, self.classes, self.labels
        if labels.shape != (n,):
            raise ShapeError(f"the head needs one label per row of scores: expected ({n},), got {tuple(labels.shape)}")
        if self.targets is not None and self.targets.shape != (n, c):
            raise ShapeError(f"the head's targets must be of shape ({n}, {c}), got {tuple(self.targets.shape)}")
        if self.weights is not None and self.weights.shape != (n,):
            raise ShapeError(f"the head's image weights must be of shape ({n},), got {tuple(self.weights.shape)}")
        if n == 0 or c < 2:
            raise DataError(f"the head needs at least 1 image and 2 classes, got {n} images and {c} classes")
        if not all(bool(torch.isfinite(self.rows(block)).all()) for block in self.blocks()):
            raise DataError("a presence score is NaN or infinite; check the features and the temperature")
        if int(labels.min()) < 0 or int(labels.max()) >= c:
            raise DataError(f"labels must lie in [0, {c}), got {int(labels.min())}..{int(labels.max())}")
        if self.targets is not None and not all(_are_shares(self.targets[block]) for block in self.blocks()):
            raise DataError("the head's targets must be >= 0 and sum to 1 for every image; check smoothing and mixup")

    @property
    def scores(self) -> Float[Tensor, "n k"]:
        """All scores at once; a view if the problem is held whole."""
        return self.rows(slice(0, self.n))

    def blocks(self) -> Iterator[slice]:
        """Row ranges that cover the images in order."""
        size = self.block or max(self.n, 1)
        yield from (slice(start, min(start + size, self.n)) for start in range(0, self.n, size))

    def rows(self, block: slice | Tensor) -> Float[Tensor, "b k"]:
        """Scores of a range of images, or of images by index."""
        part = self.stored[block]
        return (part if self.columns is None else part[:, self.columns]).to(self.dtype)

    def target_rows(self, block: slice | Tensor) -> Float[Tensor, "b c"]:
        """Soft labels of a range of images, or of images by index."""
        if self.targets is not None:
            return self.targets[block].to(self.dtype)
        labels = self.labels[block]
        return torch.zeros(len(labels), self.classes, dtype=self.dtype, device=labels.device).scatter_(
            1, labels[:, None], 1.0
        )

    def weighed(self, values: Float[Tensor, "b ..."], block: slice | Tensor) -> Float[Tensor, "b ..."]:
        """Values of a range of images, or of images by index, each times the image's weight."""
        return weighed(values, None if self.weights is None else self.weights[block])

    def on(self, columns: Int[Tensor, " m"]) -> Problem:
        """The same problem with only some of the codes; a problem in blocks does not copy its scores."""
        part = copy.copy(self)
        part.k = len(columns)
        if self.block:
            part.columns = columns if self.columns is None else self.columns[columns]
        else:
            part.stored = self.stored[:, columns]
        return part

    def zeros(self) -> Float[Tensor, "c k"]:
        """A head that uses no code."""
        return torch.zeros(self.classes, self.k, dtype=self.dtype, device=self.stored.device)

    def logits(self, weights: Float[Tensor, "c k"]) -> Logits:
        """Logits of a head: computed now if the problem is held whole, otherwise block by block on access."""
        return RowLogits(self, weights) if self.block else self.stored @ weights.T

    def loss(self, logits: Logits) -> float:
        """Mean cross-entropy in nats."""
        total = 0.0
        for block in self.blocks():
            part = logits[block]
            total += float(self.weighed(torch.logsumexp(part, dim=1).double() - self._own(part, block), block).sum())
        return self.mean(total)

    def mean(self, total: float) -> float:
        """Turn a sum over the images of this process into a mean over all images."""
        return totals_over_ranks(total)[0] / self.images

    def gradient(self, logits: Logits) -> Float[Tensor, "c k"]:
        """Gradient of the mean cross-entropy, times c: on the scale of the penalty."""
        return self.loss_and_gradient(logits)[1]

    def loss_and_gradient(self, logits: Logits) -> tuple[float, Float[Tensor, "c k"]]:
        """Loss and gradient together, with one pass over the scores and one computation of exponentials."""
        loss, gradient = 0.0, self.zeros()
        for block in self.blocks():
            part = logits[block]
            total = torch.logsumexp(part, dim=1)
            loss += float(self.weighed(total.double() - self._own(part, block), block).sum())
            error = (part - total[:, None]).exp_()
            if self.targets is None:
                error[torch.arange(len(error), device=error.device), self.labels[block]] -= 1
            else:
                error -= self.target_rows(block)
            gradient.addmm_(self.weighed(error, block).T, self.rows(block))
        return self.mean(loss), sum_over_ranks(gradient).mul_(self.classes / self.images)

    def curvature(self, logits: Logits, direction: Float[Tensor, "c k"]) -> float:
        """Second derivative of the mean cross-entropy along a direction."""
        spread = 0.0
        for block in self.blocks():
            change, chances = self.rows(block) @ direction.T, torch.softmax(logits[block], dim=1)
            mean = (chances * change).sum(dim=1, keepdim=True)
            spread += float(self.weighed(chances * (change - mean).square(), block).sum().double())
        return self.mean(spread)

    def diagonal(self, logits: Logits) -> Float[Tensor, "c k"]:
        """Diagonal of the Hessian of the mean cross-entropy, times c: c * mean_i w_i a_ip^2 p_ij (1 - p_ij)."""
        diagonal = self.zeros()
        for block in self.blocks():
            chances = torch.softmax(logits[block], dim=1)
            diagonal.addmm_(self.weighed(chances * (1 - chances), block).T, self.rows(block).square())
        return sum_over_ranks(diagonal).mul_(self.classes / self.images)

    def top1(self, weights: Float[Tensor, "c k"]) -> float:
        """Share of images whose highest logit is their label's, in [0, 1]; the lower class wins ties."""
        logits = self.logits(weights)
        right = sum(int((logits[block].argmax(dim=1) == self.labels[block]).sum()) for block in self.blocks())
        return self.mean(right)

    def accuracy(self, weights: Float[Tensor, "c k"]) -> float:
        """As :meth:`top1`, each image counted by its weight: with balanced weights, the balanced accuracy."""
        logits, right = self.logits(weights), 0.0
        for block in self.blocks():
            hits = (logits[block].argmax(dim=1) == self.labels[block]).double()
            right += float(self.weighed(hits, block).sum())
        return self.mean(right)

    def _own(self, logits: Float[Tensor, "b c"], block: slice) -> Float[Tensor, " b"]:
        """The label's logit of every image, or the mean of its logits weighted by the targets; float64."""
        if self.targets is None:
            return logits.gather(1, self.labels[block, None])[:, 0].double()
        return (logits * self.target_rows(block)).sum(dim=1).double()


@dataclass(frozen=True)
class RowLogits:
    """Logits that are computed from the weights whenever a range of rows is indexed; unused codes cost nothing."""

    problem: Problem
    weights: Float[Tensor, "c k"]

    def __getitem__(self, block: slice) -> Float[Tensor, "b c"]:
        columns = self.weights.any(dim=0).nonzero().flatten()
        if len(columns) == self.problem.k:
            return self.problem.rows(block) @ self.weights.T
        return self.problem.on(columns).rows(block) @ self.weights[:, columns].T


Logits = Float[Tensor, "n c"] | RowLogits
"""Logits of all images; indexing with a range of rows gives a tensor."""


def blend(new: Logits, old: Logits, ahead: float) -> Logits:
    """Logits of the head new + ahead * (new - old)."""
    if isinstance(new, Tensor) and isinstance(old, Tensor):
        return torch.lerp(new, old, -ahead)
    if isinstance(new, RowLogits) and isinstance(old, RowLogits):
        return RowLogits(new.problem, torch.lerp(new.weights, old.weights, -ahead))
    raise TypeError("logits of one problem are all held or all computed again, got one of each")


def _are_shares(targets: Float[Tensor, "b c"]) -> bool:
    sums = targets.double().sum(dim=1)
    return bool((targets >= 0).all()) and bool(((sums - 1).abs() <= 1e-3).all())
