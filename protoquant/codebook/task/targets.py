"""Soft labels: label smoothing, and mixup of features with their labels."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

_SEEDS = 2**62


@dataclass(frozen=True)
class Mixing:
    """The partners and the share for mixing the images of a batch.

    Attributes:
        others: Index of the image that each image is mixed with (n).
        share: lambda, the weight of the image itself, in [0, 1].
    """

    others: Int64[Tensor, " n"]
    share: float

    @classmethod
    def draw(cls, n: int, alpha: float, generator: torch.Generator) -> "Mixing":
        """Draw one permutation and one lambda ~ Beta(alpha, alpha) for a batch of any size.

        Args:
            n: Number of images in the batch; a single one is mixed with itself.
            alpha: Strength, > 0: below 1 most batches are hardly mixed, above 1 most are mixed half and half.
            generator: Decides both draws.
        """
        others = torch.randperm(n, generator=generator)
        # torch cannot draw Beta from a given generator, but numpy can
        numbers = np.random.default_rng(int(torch.randint(_SEEDS, (1,), generator=generator)))
        return cls(others, float(numbers.beta(alpha, alpha)))

    def mix(self, own: Float[Tensor, "m ..."], other: Float[Tensor, "m ..."]) -> Float[Tensor, "m ..."]:
        """Return lambda * own + (1 - lambda) * other, float32 or float64."""
        return torch.lerp(other, own, self.share)


@dataclass(frozen=True)
class Mixed:
    """A batch after mixup.

    Attributes:
        values: Tokens or scores, one row for each image (n, ...).
        targets: Their soft labels (n, c).
        share: The lambda of the batch, in [0, 1]; 1 if nothing was mixed.
    """

    values: Float[Tensor, "n ..."]
    targets: Float[Tensor, "n c"]
    share: float


def smooth(labels: Int64[Tensor, " n"], c: int, smoothing: float) -> Float[Tensor, "n c"]:
    """Turn labels into soft labels: 1 - smoothing on the label, and smoothing spread over all c classes.

    Args:
        labels: Labels in [0, c).
        c: Number of classes.
        smoothing: Share of the label to spread, in [0, 1); 0 leaves one-hot rows.

    Returns:
        float32 rows that sum to 1.

    Source:
        Szegedy et al. 2016, section 7.
    """
    return torch.nn.functional.one_hot(labels, c).to(torch.float32) * (1.0 - smoothing) + smoothing / c


def mixup(
    values: Float[Tensor, "n ..."], targets: Float[Tensor, "n c"], alpha: float, generator: torch.Generator
) -> Mixed:
    """Mix every image of a batch with another image of the batch, and their soft labels by the same share.

    With alpha 0 nothing is drawn and nothing changes.

    Args:
        values: Tokens (n, t, d), mixed cell by cell, or scores (n, k); float32 or float64.
        targets: Soft labels of the images.
        alpha: Strength, >= 0, see :meth:`Mixing.draw`.
        generator: Decides the permutation and lambda.

    Returns:
        The mixed batch: lambda * row + (1 - lambda) * other row, with one lambda for all rows.

    Source:
        Zhang et al. 2018, eq. 1; on features: Verma et al. 2019 (manifold mixup).
    """
    if alpha == 0.0:
        return Mixed(values, targets, 1.0)
    mixing = Mixing.draw(len(values), alpha, generator)
    others = mixing.others.to(values.device)
    return Mixed(mixing.mix(values, values[others]), mixing.mix(targets, targets[others]), mixing.share)
