"""Gradient descent in mini-batches: an optimizer, its rates and the sums of an epoch; the loss is handed in."""

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
        epoch: Counted from 1.
        number: Counted from 1 in each epoch.
        images: Their positions among all (b).
    """

    epoch: int
    number: int
    images: Tensor

    def require_finite(self, loss: float, *, subject: str, remedy: str) -> None:
        """Refuse a loss that is NaN or infinite, before anything moves by it.

        Args:
            loss: Of this batch.
            subject: Begins the sentence, such as ``the loss is``.
            remedy: Ends it: what to do.

        Raises:
            DataError: It is; names epoch and batch.
        """
        if not math.isfinite(loss):
            raise DataError(f"{subject} {loss} in epoch {self.epoch}, batch {self.number}{remedy}")


@dataclass(frozen=True)
class Slope:
    """How a loss changes with the parameters, at one batch.

    Attributes:
        gradients: Its derivative by each parameter, of the parameter's shape.
        shares: What the batch adds to the sums of its epoch.
    """

    gradients: Iterable[Tensor]
    shares: Mapping[str, float] = field(default_factory=dict)


class Descent:
    """Parameters that move against the gradients of a loss, batch by batch.

    Args:
        optimizer: adam: weight decay is part of the gradient; adamw: it shrinks parameters directly.
        parameters: Moved in place.
        rates: The learning rate of each parameter in a step, counted from 0 over all epochs.
        weight_decay: Of the optimizer.
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
        """Made so far."""

    def epoch(self, number: int, batches: Iterable[Tensor], slope: Callable[[Batch], Slope]) -> dict[str, float]:
        """Make a step for each batch.

        Args:
            number: Of the epoch, from 1.
            batches: Positions of images.
            slope: Looks at a batch; stops what cannot go on by ``Batch.require_finite``.

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
        """Go on as if these rows of a parameter had never had a gradient."""
        for name in _MOMENTS:
            self._optimizer.state[parameter][name][rows] = 0.0

    def _step(self, gradients: Iterable[Tensor]) -> None:
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate(self.steps)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self.steps += 1
