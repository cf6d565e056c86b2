"""The head: non-negative weights (c, k) from presence scores to class scores, without a bias."""

from jaxtyping import Float, Int
from torch import Tensor

from protoquant.core.errors import ShapeError


def head_logits(scores: Float[Tensor, "n k"], head: Float[Tensor, "c k"]) -> Float[Tensor, "n c"]:
    """Class scores: the sum of presence times weight over all codes.

    Args:
        scores: Presence scores, in [0, 1].
        head: Weights, >= 0.

    Returns:
        Logits, >= 0; all zero where no used prototype is present.

    Raises:
        ShapeError: Scores and head have different numbers of codes.
    """
    if scores.shape[1] != head.shape[1]:
        raise ShapeError(
            f"scores are of {scores.shape[1]} codes, the head is for {head.shape[1]}; use one bundle for both"
        )
    return scores @ head.T


def contributions(
    scores: Float[Tensor, "n k"], head: Float[Tensor, "c k"], classes: Int[Tensor, " n"]
) -> Float[Tensor, "n k"]:
    """Presence times weight, for one class of each image.

    Args:
        scores: Presence scores, in [0, 1].
        head: Weights, >= 0.
        classes: The class to account for in each image, in [0, c).

    Returns:
        Contributions; a row sums to the image's logit for its class.

    Raises:
        ShapeError: The shapes of scores, head and classes do not match.
    """
    if scores.shape[1] != head.shape[1] or classes.shape != scores.shape[:1]:
        raise ShapeError(
            f"contributions need scores (n, k), a head (c, k) and n classes, got scores {tuple(scores.shape)}, "
            f"head {tuple(head.shape)}, classes {tuple(classes.shape)}"
        )
    return scores * head[classes]
