"""Compactness: the sparsity of the head, and the sizes of classes and explanations."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from protoquant.core.errors import ShapeError

PRESENT = 0.1
"""PIP-Net drops a smaller presence when it answers; ProtoQuant counts weights above it."""
NONZERO = 1e-3
"""PIP-Net counts weights, contributions and presence above it."""


@dataclass(frozen=True)
class HeadSize:
    """Sizes of a head, read from its weights alone.

    Attributes:
        sparsity: Share of exactly zero weights, in [0, 1].
        class_size: Mean non-zero weights per class.
        class_size_min: Non-zero weights of the smallest class.
        class_size_max: Non-zero weights of the largest class.
        global_size: Prototypes, that is codes with any non-zero weight.
    """

    sparsity: float
    class_size: float
    class_size_min: int
    class_size_max: int
    global_size: int


def head_size(head: Float[np.ndarray, "c k"]) -> HeadSize:
    """Count the weights that are not exactly zero.

    Args:
        head: Non-negative weights (c, k).

    Returns:
        Sparsity, class sizes and global size.

    Raises:
        ShapeError: head is not a matrix.
    """
    if head.ndim != 2 or head.size == 0:
        raise ShapeError(f"head must have shape (c, k), got {head.shape}")
    used = head != 0
    per_class = used.sum(axis=1)
    return HeadSize(
        sparsity=float(1.0 - used.mean()),
        class_size=float(per_class.mean()),
        class_size_min=int(per_class.min()),
        class_size_max=int(per_class.max()),
        global_size=int(used.any(axis=0).sum()),
    )


def class_sizes(head: Float[np.ndarray, "c k"]) -> Int[np.ndarray, " c"]:
    """Non-zero weights of every class."""
    sizes: Int[np.ndarray, " c"] = (head != 0).sum(axis=1)
    return sizes


def local_size(contributions: Float[np.ndarray, " k"], epsilon: float) -> int:
    """Prototypes of one image whose contribution to one class exceeds epsilon."""
    return int((contributions > epsilon).sum())


def cover_size(contributions: Float[np.ndarray, " k"], cover: float) -> int:
    """Smallest number of contributions of one image that reach a share of their sum.

    Unlike local_size it does not depend on the scale of the weights. An image with no contribution has size 0.

    Args:
        contributions: Non-negative contributions to one class, any order.
        cover: Share of their sum to reach, in (0, 1].

    Returns:
        The size.
    """
    total = float(contributions.sum())
    if total <= 0:
        return 0
    shares = np.cumsum(np.sort(contributions.astype(np.float64))[::-1]) / total
    # The last share is 1 up to rounding, and cover may be exactly 1.
    return int(min(np.searchsorted(shares, cover - 1e-12) + 1, (contributions > 0).sum()))


@dataclass(frozen=True)
class WeightSizes:
    """Sizes of a head by the thresholds of public code.

    Attributes:
        pq_local: ProtoQuant's local size: weights of a class above ``PRESENT``, mean over classes.
        pq_local_min: The same of the smallest class.
        pq_local_max: The same of the largest class.
        pq_global: Prototypes with a weight above ``PRESENT`` (ProtoQuant's summary).
        pq_global_any: Prototypes with a positive weight (ProtoQuant's row of the whole model).
        pq_importance_mean: ProtoQuant's importance, mean over the prototypes.
        pq_importance_max: The same of the most important prototype.
        pip_global: Prototypes with a weight above ``NONZERO`` (PIP-Net).
        pip_sparsity: Share of weights of at most ``NONZERO`` (PIP-Net's sparsity ratio).
    """

    pq_local: float
    pq_local_min: int
    pq_local_max: int
    pq_global: int
    pq_global_any: int
    pq_importance_mean: float
    pq_importance_max: float
    pip_global: int
    pip_sparsity: float


def weight_sizes(head: Float[np.ndarray, "c k"]) -> WeightSizes:
    """Count a head's weights as ProtoQuant and PIP-Net count them; negative weights count as 0."""
    per_class = (head > PRESENT).sum(axis=1)
    used = importance(head)[(head > 0).any(axis=0)]
    return WeightSizes(
        pq_local=float(per_class.mean()),
        pq_local_min=int(per_class.min()),
        pq_local_max=int(per_class.max()),
        pq_global=int((head > PRESENT).any(axis=0).sum()),
        pq_global_any=len(used),
        pq_importance_mean=float(used.mean()) if len(used) else 0.0,
        pq_importance_max=float(used.max(initial=0.0)),
        pip_global=int((head > NONZERO).any(axis=0).sum()),
        pip_sparsity=float(1.0 - (head > NONZERO).mean()),
    )


def importance(head: Float[np.ndarray, "c k"]) -> Float[np.ndarray, " k"]:
    """ProtoQuant's importance of every prototype: its mean weight over all classes."""
    found: Float[np.ndarray, " k"] = np.maximum(head, 0.0).mean(axis=0)
    return found


@dataclass(frozen=True)
class ClampedAnswers:
    """Answers and sizes of images where a presence below ``PRESENT`` counts as 0, as in PIP-Net.

    Attributes:
        predicted: The class of the largest clamped score; the lower index on a tie.
        local: Prototypes whose contribution to that class exceeds ``NONZERO``.
        anywhere: Prototypes whose contribution to any class does. PIP-Net's code adds up over a batch what it means
            to count per image; here every image is counted by itself.
        active: Prototypes, that is codes with a weight, whose presence exceeds ``NONZERO``.
    """

    predicted: Int[np.ndarray, " n"]
    local: Int[np.ndarray, " n"]
    anywhere: Int[np.ndarray, " n"]
    active: Int[np.ndarray, " n"]


def clamped_answers(scores: Float[np.ndarray, "n k"], head: Float[np.ndarray, "c k"]) -> ClampedAnswers:
    """Answer with clamped presence and count prototypes by PIP-Net's thresholds; nothing is changed.

    Args:
        scores: Presence of every code, in [0, 1].
        head: Non-negative weights.

    Source:
        Nauta et al., CVPR 2023 (PIP-Net), its evaluation.
    """
    largest, used, rows = head.max(axis=0), (head > 0).any(axis=0), []
    for seen in scores:
        clamped = np.where(seen < PRESENT, 0.0, seen.astype(np.float64))
        label = int((head @ clamped).argmax())
        sizes = [local_size(parts, NONZERO) for parts in (clamped * head[label], clamped * largest, clamped * used)]
        rows.append([label, *sizes])
    return ClampedAnswers(*np.array(rows, dtype=np.int64).T)


def public_sizes(
    scores: Float[np.ndarray, "n k"], head: Float[np.ndarray, "c k"], labels: Int[np.ndarray, " n"]
) -> tuple[WeightSizes, dict[str, Float[np.ndarray, " n"]]]:
    """Sizes in all definitions of public code, to hold a model against published tables.

    Args:
        scores: Presence of every code, in [0, 1].
        head: Non-negative weights.
        labels: True classes.

    Returns:
        The sizes of the head, and for each image: pip_local, pip_local_all, pip_active as in
        :class:`ClampedAnswers`, and clamped_top1, 1.0 where the clamped answer is right.
    """
    found = clamped_answers(scores, head)
    per_image = {
        "pip_local": found.local,
        "pip_local_all": found.anywhere,
        "pip_active": found.active,
        "clamped_top1": found.predicted == labels,
    }
    return weight_sizes(head), {name: values.astype(np.float64) for name, values in per_image.items()}
