"""Gradient descent in mini-batches: an optimizer, its learning rates and sums per epoch; callers supply the loss."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from protoquant.core.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

OptimizerName = Literal["adam", "adamw"]
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Batch:
    """The images of one step.

    Attributes:
        epoch: Number of the epoch, counted from 1.
        number: Number of the batch in its epoch, counted from 1.
        images: Positions of the batch's images among all images (b).
    """

    epoch: int
    number: int
    images: Tensor

    def require_finite(self, loss: float, *, subject: str, remedy: str) -> None:
        """Refuse a loss that is NaN or infinite, before it changes any parameter.

        Args:
            loss: Loss of this batch.
            subject: Beginning of the error, such as ``the loss is``.
            remedy: End of the error, which says what to do.

        Raises:
            DataError: The loss is not finite; the error names epoch and batch.
        """
        if not math.isfinite(loss):
            raise DataError(f"{subject} {loss} in epoch {self.epoch}, batch {self.number}{remedy}")


@dataclass(frozen=True)
class Slope:
    """The gradients of a loss on one batch.

    Attributes:
        gradients: Gradient with respect to each parameter, in the parameter's shape.
        shares: Amounts that the batch adds to the sums of its epoch.
    """

    gradients: Iterable[Tensor]
    shares: Mapping[str, float] = field(default_factory=dict)


class Descent:
    """Moves parameters against the gradients of a loss, batch by batch.

    Args:
        optimizer: With adam, weight decay is part of the gradient; with adamw, it shrinks the parameters directly.
        parameters: Updated in place.
        rates: For each parameter, its learning rate as a function of the step, counted from 0 over all epochs.
        weight_decay: Weight decay of the optimizer.
    """

    def __init__(
        self,
        optimizer: OptimizerName,
        parameters: Sequence[Tensor],
        rates: Sequence[Callable[[int], float]],
        *,
        weight_decay: float = 0.0,
    ) -> None:
        from torch.optim import Adam, AdamW

        kind = AdamW if optimizer == "adamw" else Adam
        groups = [{"params": [parameter]} for parameter in parameters]
        self._optimizer = kind(groups, weight_decay=weight_decay)
        self._parameters, self._rates = parameters, rates
        self.steps = 0
        """Number of steps made so far."""

    def epoch(self, number: int, batches: Iterable[Tensor], slope: Callable[[Batch], Slope]) -> dict[str, float]:
        """Make a step for each batch.

        Args:
            number: Number of the epoch, counted from 1.
            batches: Positions of the images of each batch.
            slope: Computes the gradients of a batch; refuses a loss that is not finite with ``Batch.require_finite``.

        Returns:
            The sums of the shares, added in the order of the batches.
        """
        sums: dict[str, float] = defaultdict(float)
        for batch, images in enumerate(batches, start=1):
            found = slope(Batch(number, batch, images))
            self._step(found.gradients)
            for name, share in found.shares.items():
                sums[name] += share
        return dict(sums)

    @property
    def rates(self) -> list[float]:
        """The learning rate of each parameter in the last step."""
        return [group["lr"] for group in self._optimizer.param_groups]

    def forget(self, parameter: Tensor, rows: Tensor) -> None:
        """Reset the optimizer's moments of these rows of a parameter, as if they had never had a gradient."""
        for name in _MOMENTS:
            self._optimizer.state[parameter][name][rows] = 0.0

    def _step(self, gradients: Iterable[Tensor]) -> None:
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate(self.steps)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self.steps += 1
