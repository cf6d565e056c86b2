"""The rule that selects one of the fitted heads."""

from collections.abc import Sequence
from dataclasses import dataclass

from protoquant.core.errors import DataError


@dataclass(frozen=True)
class HeadCandidate:
    """One head of the path: one row of ``path.csv``.

    Objective, residual, gap and iterations belong to the fit that chose the weights. Those with ``refit_`` belong to
    the second fit under a smaller penalty, which gave the head; they repeat the first fit's if there was no second.

    Attributes:
        temperature: Temperature of the softmax over codes.
        penalty: L1 penalty that chose the weights; L2 with solver budget.
        objective: Final objective of that fit: mean cross-entropy + penalty of the weights, in nats.
        residual: Violation of the optimality conditions, as a share of the penalty (absolute if that is 0).
        gap: Duality gap, in nats: the objective is at most this far above the minimum.
        iterations: Steps of the solver.
        epoch: Epoch that validation chose, counted from 1; 0 for the convex solvers.
        refit_residual: Residual of the second fit, over the chosen weights.
        refit_gap: Duality gap of the second fit.
        refit_iterations: Steps of the second fit; 0 if there was none.
        nonzeros: Non-zero weights of the head.
        prototypes: Codes with a non-zero weight.
        class_size: Mean non-zero weights per class.
        train_top1: Accuracy on train images, in [0, 1].
        validation_top1: Accuracy on validation images, in [0, 1].
        balanced_accuracy: Balanced accuracy on validation images, in [0, 1]; None without class weights.
    """

    temperature: float
    penalty: float
    objective: float
    residual: float
    gap: float
    iterations: int
    epoch: int
    refit_residual: float
    refit_gap: float
    refit_iterations: int
    nonzeros: int
    prototypes: int
    class_size: float
    train_top1: float
    validation_top1: float
    balanced_accuracy: float | None = None

    @property
    def accuracy(self) -> float:
        """The accuracy on validation by which heads are compared: with class weights the balanced one, else top-1."""
        return self.validation_top1 if self.balanced_accuracy is None else self.balanced_accuracy


def select(candidates: Sequence[HeadCandidate], *, tolerance: float, max_class_size: float | None) -> int:
    """Take the sparsest head within a tolerance of the best validation accuracy.

    The sparsest head has fewest non-zero weights, then fewest prototypes, then highest validation accuracy; the first
    one wins ties.

    Args:
        candidates: All heads, of all temperatures.
        tolerance: Accuracy given up for sparsity, in [0, 1].
        max_class_size: Heads with more prototypes per class are ignored, also as the best; None: no limit.

    Returns:
        Position of the chosen head.

    Raises:
        DataError: No head uses any weight, or none is within the limit.
    """
    used = [position for position, one in enumerate(candidates) if one.nonzeros > 0]
    if not used:
        raise DataError(
            "every head of the path is empty: the codes tell no class apart; lower train.temperature or the penalties"
        )
    small = [place for place in used if max_class_size is None or candidates[place].class_size <= max_class_size]
    if not small:
        least = min(candidates[place].class_size for place in used)
        raise DataError(
            f"train.max_class_size must be >= {least:.2f}, the sparsest head of the path, got {max_class_size}; "
            f"raise it, or fit smaller heads (train.budget.sizes, or train.points with solver proximal)"
        )
    best = max(candidates[place].accuracy for place in small)
    # Accuracies are ratios of counts: a margin far below one image keeps rounding out of the comparison.
    good = [place for place in small if candidates[place].accuracy >= best - tolerance - 1e-9]
    return min(good, key=lambda place: (*_size(candidates[place]), place))


def _size(candidate: HeadCandidate) -> tuple[int, int, float]:
    return candidate.nonzeros, candidate.prototypes, -candidate.accuracy
