"""How good and how small a head is, on one split."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from protoquant.codebook.probe import top1
from protoquant.head.prune_plan import Metric
from protoquant.model.head import contributions, head_logits
from protoquant.prune.evidence import PruningEvidence

EPSILON = 1e-3
"""Contribution above which a prototype counts in a local size (PIP-Net)."""


@dataclass(frozen=True)
class Quality:
    """What is measured before and after a fine-tuning.

    Attributes:
        top1: Accuracy, in [0, 1].
        loss: Mean cross-entropy, in nats.
    """

    top1: float
    loss: float

    def cost(self, metric: Metric) -> float:
        """The metric, turned so that lower is better."""
        return self.loss if metric == "loss" else -self.top1


@dataclass(frozen=True)
class HeadCompactness:
    """Sizes of a head; the local ones are means over images.

    Attributes:
        prototypes: Codes with a non-zero weight.
        nonzeros: Non-zero weights.
        class_size: Mean non-zero weights per class.
        empty_classes: Classes without a weight; no image can be given to them but by a tie at 0.
        local_size: Prototypes whose contribution to the predicted class exceeds EPSILON.
        local_size_all: Prototypes whose contribution to any class does; each image by itself, so that no batch
            matters.
        active_size: Prototypes whose presence exceeds EPSILON.
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
    return Quality(top1(logits, evidence.labels), float(functional.cross_entropy(logits, evidence.labels)))


def size(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> HeadCompactness:
    """Count prototypes, weights, and what takes part in an image."""
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
    """How far the predictions of two models of the same head lie apart, over images.

    Attributes:
        changed: Share of images with another predicted class, in [0, 1].
        mean: Mean absolute difference of the logits.
        largest: Largest absolute difference.
    """

    changed: float
    mean: float
    largest: float


def deviation(one: PruningEvidence, other: PruningEvidence, head: Float[Tensor, "c k"]) -> Deviation:
    """Compare what a head says of the same images under two scorings."""
    first, second = head_logits(one.scores, head), head_logits(other.scores, head)
    apart = (first - second).abs()
    changed = (first.argmax(dim=1) != second.argmax(dim=1)).double().mean()
    return Deviation(float(changed), float(apart.double().mean()), float(apart.max()))
