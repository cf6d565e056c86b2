"""Compactness: the sparsity of the head, and the sizes of classes and explanations."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from protoquant.core.errors import ShapeError


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
