"""Measures the quality and the size of a head on one split."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.probe import top1
from protoquant.head.class_weights import balanced_accuracy, mean_cross_entropy
from protoquant.head.prune_plan import Metric
from protoquant.model.head import contributions, head_logits
from protoquant.prune.evidence import PruningEvidence

EPSILON = 1e-3
"""Contribution or presence above which a prototype counts in a size per image (PIP-Net)."""


@dataclass(frozen=True)
class Quality:
    """Accuracy and loss of a head.

    Attributes:
        top1: Accuracy, in [0, 1].
        loss: Mean cross-entropy, in nats; each image counts by its weight.
        balanced_accuracy: Balanced accuracy, in [0, 1]; None without class weights.
    """

    top1: float
    loss: float
    balanced_accuracy: float | None = None

    @property
    def accuracy(self) -> float:
        """The accuracy by which steps are compared: with class weights the balanced one, else top-1."""
        return self.top1 if self.balanced_accuracy is None else self.balanced_accuracy

    def cost(self, metric: Metric) -> float:
        """The metric, with its sign such that lower is better."""
        return self.loss if metric == "loss" else -self.accuracy


@dataclass(frozen=True)
class HeadCompactness:
    """Sizes of a head; local and active sizes are means over images.

    Attributes:
        prototypes: Number of codes with a non-zero weight.
        nonzeros: Number of non-zero weights.
        class_size: Mean number of non-zero weights per class.
        empty_classes: Number of classes without a weight; only a tie at 0 can predict such a class.
        local_size: Number of prototypes whose contribution to the predicted class exceeds EPSILON.
        local_size_all: Number of prototypes whose contribution to any class exceeds EPSILON; counted for each image
            separately, so that the batch does not matter.
        active_size: Number of prototypes whose presence exceeds EPSILON.
    """

    prototypes: int
    nonzeros: int
    class_size: float
    empty_classes: int
    local_size: float
    local_size_all: float
    active_size: float


def quality(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Quality:
    """Measure a head on a split."""
    logits = head_logits(evidence.scores, head)
    labels, weights = evidence.labels, evidence.weights
    balanced = None if evidence.class_weights is None else balanced_accuracy(logits, labels)
    return Quality(top1(logits, labels), float(mean_cross_entropy(logits, labels, weights)), balanced)


def size(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> HeadCompactness:
    """Count the prototypes and weights of a head, and the prototypes that are active in an image."""
    used = head > 0
    predicted = head_logits(evidence.scores, head).argmax(dim=1)
    local = contributions(evidence.scores, head, predicted) > EPSILON
    anywhere = evidence.scores * head.amax(dim=0) > EPSILON
    return HeadCompactness(
        prototypes=int(used.any(dim=0).sum()),
        nonzeros=int(used.sum()),
        class_size=int(used.sum()) / len(head),
        empty_classes=int((~used.any(dim=1)).sum()),
        local_size=float(local.sum(dim=1).double().mean()),
        local_size_all=float(anywhere.sum(dim=1).double().mean()),
        active_size=float(((evidence.scores > EPSILON) & used.any(dim=0)).sum(dim=1).double().mean()),
    )


@dataclass(frozen=True)
class Deviation:
    """Difference between the predictions of the same head under two scorings, over images.

    Attributes:
        changed: Share of images with another predicted class, in [0, 1].
        mean: Mean absolute difference of the logits.
        largest: Largest absolute difference of the logits.
    """

    changed: float
    mean: float
    largest: float


def deviation(one: PruningEvidence, other: PruningEvidence, head: Float[Tensor, "c k"]) -> Deviation:
    """Compare a head's predictions for the same images under two scorings."""
    first, second = head_logits(one.scores, head), head_logits(other.scores, head)
    apart = (first - second).abs()
    changed = (first.argmax(dim=1) != second.argmax(dim=1)).double().mean()
    return Deviation(float(changed), float(apart.double().mean()), float(apart.max()))
