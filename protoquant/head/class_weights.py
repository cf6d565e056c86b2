"""Class weights: how much each image counts where a head is fitted, and where heads are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from protoquant.core.errors import ConfigError, suggest
from protoquant.distributed.ranks import sum_over_ranks, totals_over_ranks


@dataclass(frozen=True)
class ClassWeights:
    """How much the images of each class count in a mean over images, as ``train.class_weights`` says.

    Attributes:
        classes: Number of classes c.
        relative: Weight of an image of each class (c), > 0, up to a common factor; None: an image weighs one over the
            number of images of its class, so that all classes count the same.
    """

    classes: int
    relative: tuple[float, ...] | None = None

    @classmethod
    def of(
        cls, setting: Literal["none", "balanced"] | Mapping[str, float], names: tuple[str, ...]
    ) -> ClassWeights | None:
        """Read the setting for some classes; None where images are not weighed.

        Args:
            setting: ``train.class_weights``.
            names: Class names, index = label.

        Raises:
            ConfigError: A table names a class that there is not, or lacks one.
        """
        if setting == "none":
            return None
        if isinstance(setting, str):
            return cls(len(names))
        for name in setting:
            if name not in names:
                raise ConfigError(
                    f"train.class_weights: there is no class {name!r}{suggest(name, list(names))} (params.yaml)"
                )
        if missing := [name for name in names if name not in setting]:
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            raise ConfigError(f"train.class_weights must name every class, {missing[0]!r}{more} missing (params.yaml)")
        return cls(len(names), tuple(setting[name] for name in names))

    @property
    def judging(self) -> ClassWeights:
        """The weights by which heads are compared: whatever a fit weighs, every class counts the same there.

        The mean of rightly answered images under these weights is the balanced accuracy, the mean recall of the classes
        that have images.
        """
        return replace(self, relative=None)

    def of_images(self, labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"] | None:
        """The weight of every image; over all images their mean is 1.

        Balanced weights are n / (m * n_j) for an image of class j, with n images, n_j of them of class j, and m classes
        that have any. A table's weights are divided by their mean over the images, so that penalties mean the same as
        without weights.

        Args:
            labels: Class of every image. In a distributed run those of this process, or in every process those of all:
                both have the same shares of classes.

        Returns:
            Weights > 0, float64; None where all images weigh the same, so that nothing is multiplied and a fit keeps
            its bytes.

        Source:
            King and Zeng 2001, "Logistic regression in rare events data"; the balanced weights of scikit-learn.
        """
        counts = sum_over_ranks(torch.bincount(labels, minlength=self.classes)).double()
        present = counts > 0
        if self.relative is None:
            weights = counts.sum() / (present.sum() * counts.clamp_min(1))
        else:
            weights = torch.tensor(self.relative, dtype=torch.float64, device=labels.device)
        if bool((weights[present] == weights[present][0]).all()):
            return None
        return (weights / ((weights * counts).sum() / counts.sum()))[labels]


def weighed(values: Float[Tensor, "n ..."], weights: Float[Tensor, " n"] | None) -> Float[Tensor, "n ..."]:
    """Values of images, each times the image's weight, in the values' precision; as they are without weights."""
    if weights is None:
        return values
    return values * weights.to(values).reshape(-1, *[1] * (values.ndim - 1))


def effective_images(weights: Float[Tensor, " n"] | None, n: int) -> float:
    """How many images of equal weight give a mean as certain as that of n weighed ones; n where all weigh the same.

    Source:
        Kish 1965, "Survey Sampling", section 11.7: (sum of w)^2 / sum of w^2.
    """
    return float(n) if weights is None else float(weights.sum().square() / weights.square().sum())


def mean_cross_entropy(
    logits: Float[Tensor, "n c"], labels: Int64[Tensor, " n"], weights: Float[Tensor, " n"] | None
) -> Float[Tensor, ""]:
    """Mean cross-entropy over images in nats, each counted by its weight."""
    if weights is None:
        return cross_entropy(logits, labels)
    return weighed(cross_entropy(logits, labels, reduction="none"), weights).mean()


def balanced_accuracy(logits: Float[Tensor, "n c"], labels: Int64[Tensor, " n"]) -> float:
    """Mean over classes that have images of the share answered rightly, in [0, 1]; the lower class wins ties.

    In a distributed run it is over the images of all processes.

    Source:
        Brodersen et al. 2010, "The balanced accuracy and its posterior distribution", for any number of classes.
    """
    weights = ClassWeights(logits.shape[1]).of_images(labels)
    right = weighed((logits.argmax(dim=1) == labels).double(), weights)
    total, images = totals_over_ranks(float(right.sum()), len(labels))
    return total / images
