"""Questions that people are asked about prototypes, put to an observer that sees crops as vectors; all are simulated.

An observer judges a row of a ledger, one region of the image beside the training patches of one prototype, by its
likeness: the mean cosine of the region's vector with those of the patches. A ledger is judged by the mean likeness of
its rows. Weights, presence and names are not shown. A tie of m answers counts 1 / m.

Each question is also asked where nothing can be known: the prototypes whose patches are shown are then drawn at random,
and regions change places between the ledgers of an image, or judgements between images. An observer that is above
chance there sees something other than the question.

Sources: DisParQ 2026 (region matching), EPIC 2025 (nameless ledgers), HIVE (Kim et al. 2022; agreement).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.stats import rankdata

from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.intervals import Estimate, Statistic, estimate, macro_of, mean_of

OTHERS = 3
"""Wrong sets of training patches beside the right one."""


@dataclass(frozen=True)
class Ledgers:
    """The strongest contributions to two classes of n images, each with the vector of its region.

    Attributes:
        codes: Prototype of each row, an index into the shown patches (n, 2, m): the predicted class, then the
            runner-up; each has one at least, then -1.
        regions: Unit vector of each row's region (n, 2, m, d).
        classes: The predicted class (n).
        right: 1.0 where the prediction is right, else 0.0 (n).
    """

    codes: Int[np.ndarray, "n 2 m"]
    regions: Float[np.ndarray, "n 2 m d"]
    classes: Int[np.ndarray, " n"]
    right: Float[np.ndarray, " n"]

    def likeness(self, shown: Float[np.ndarray, "p d"]) -> Float[np.ndarray, "n 2"]:
        """Judge both ledgers of each image.

        Args:
            shown: Mean of the unit vectors of each prototype's training patches, so that a product with a unit vector
                is a mean cosine.
        """
        rows = np.einsum("nlmd,nlmd->nlm", self.regions, shown[self.codes])
        held = self.codes >= 0
        judged: Float[np.ndarray, "n 2"] = np.where(held, rows, 0.0).sum(axis=2) / held.sum(axis=2)
        return judged


@dataclass(frozen=True)
class Simulated:
    """The answers of a simulated observer to one question.

    Attributes:
        question: Its name.
        found: The number on all images, with its interval.
        chance: What an observer scores that knows nothing.
        control: The number where nothing can be known; its interval must hold chance.
        items: One value for each image: the share of right answers, or the likeness that is a score of rightness.
    """

    question: str
    found: Estimate
    chance: float
    control: Estimate
    items: Float[np.ndarray, " n"]


def region_matching(
    ledgers: Ledgers, shown: Float[np.ndarray, "p d"], of_class: Bool[np.ndarray, "c p"] | None, seed: int
) -> Simulated | None:
    """Ask which of four sets of training patches shows the same as a region; one is its prototype's own.

    The regions are those of the predicted class's ledger; an image's value is the mean over its rows.

    Args:
        ledgers: Regions and their prototypes.
        shown: As for ``Ledgers.likeness``.
        of_class: Whether each class uses each prototype: the other three sets are then of prototypes that the predicted
            class uses too, which is harder; classes with fewer than four give no question. None: of any prototypes.
        seed: Seed of the draw.

    Returns:
        The answers; None where no image gives a question.
    """
    name = "region matching" if of_class is None else "region matching within the class"
    codes, regions = ledgers.codes[:, 0], ledgers.regions[:, 0]
    every = np.arange(len(shown))

    def ask(what: str, own: bool) -> Float[np.ndarray, " n"]:
        rng = numpy_generator(seed, "benchmark observers", name, what)
        values = np.full(codes.shape, np.nan)
        for image, row in np.argwhere(codes >= 0).tolist():
            pool = every if of_class is None else np.flatnonzero(of_class[ledgers.classes[image]])
            drawn = rng.permutation(pool[pool != codes[image, row]] if own else pool)[: OTHERS + (not own)]
            sets = np.append(codes[image, row], drawn) if own else drawn
            if len(sets) == OTHERS + 1:
                values[image, row] = first_wins(shown[sets] @ regions[image, row])
        return _mean_of_known(values)

    answers = ask("question", True), ask("control", False)
    return None if np.isnan(answers[0]).all() else _asked(name, 1 / (OTHERS + 1), answers, mean_of, seed)


def class_of_ledger(ledgers: Ledgers, shown: Float[np.ndarray, "p d"], seed: int) -> Simulated:
    """Ask which of two nameless ledgers is that of the predicted class; the other is the runner-up's."""
    name = "class from two ledgers"
    rng = numpy_generator(seed, "benchmark observers", name)
    answers = [first_wins(pair) for pair in ledgers.likeness(shown)]
    n, two, m = ledgers.codes.shape
    held = ledgers.codes >= 0
    codes = np.where(held, rng.integers(0, len(shown), ledgers.codes.shape), -1)
    order = np.where(held.reshape(n, two * m), rng.random((n, two * m)), np.inf).argsort(axis=1, kind="stable")
    regions = np.zeros_like(ledgers.regions)
    for image in range(n):  # regions of both ledgers in a random order, into the rows that are held
        both = ledgers.regions[image].reshape(two * m, -1)
        regions[image][held[image]] = both[order[image][: held[image].sum()]]
    unknown = Ledgers(codes, regions, ledgers.classes, ledgers.right).likeness(shown)
    return _asked(name, 0.5, (np.array(answers), np.array([first_wins(pair) for pair in unknown])), mean_of, seed)


def right_or_wrong(
    ledgers: Ledgers, validation: Ledgers, shown: Float[np.ndarray, "p d"], seed: int
) -> tuple[Simulated, Simulated | None]:
    """Ask whether the answer is right, from its ledger alone, by the ledger's likeness.

    Args:
        ledgers: The images that are asked about.
        validation: Images that choose the threshold of likeness.
        shown: As for ``Ledgers.likeness``.
        seed: Seed of the control, which gives each image the likeness of another.

    Returns:
        The area under the ROC curve; and the mean of the shares of right and of wrong answers that are told, at the
        threshold that is best on validation, None where validation has right or wrong answers only.
    """
    likeness, held = (one.likeness(shown)[:, 0] for one in (ledgers, validation))
    other = numpy_generator(seed, "benchmark observers", "other ledger").permutation(likeness)
    area = _asked("right or wrong, area", 0.5, (likeness, other), lambda values: auc_of(values, ledgers.right), seed)
    least = best_threshold(held, validation.right)
    if least is None:
        return area, None
    labels = ledgers.right.astype(np.int64)

    def told(values: Float[np.ndarray, " n"]) -> Statistic:
        return macro_of(((values >= least) == labels).astype(np.float64), labels, 2)

    return area, _asked("right or wrong, at a threshold", 0.5, (likeness, other), told, seed)


def first_wins(likeness: Float[np.ndarray, " m"]) -> float:
    """1.0 where the first is the largest, 1 / m on a tie of m, 0.0 otherwise."""
    best = likeness >= likeness.max()
    return float(best[0] / best.sum())


def auc_of(score: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]) -> Statistic:
    """The area under the ROC curve as a statistic of positions; ties count a half, one class alone gives 0.5.

    Source: Mann and Whitney 1947, by the ranks of the scores.
    """

    def statistic(positions: NDArray[np.int64]) -> NDArray[np.float64]:
        held = right[positions]
        positive = held.sum(axis=-1)
        negative = held.shape[-1] - positive
        ranks = (rankdata(score[positions], axis=-1) * held).sum(axis=-1)
        pairs = positive * negative
        found: NDArray[np.float64] = (ranks - positive * (positive + 1) / 2) / np.maximum(pairs, 1)
        return np.where(pairs > 0, found, 0.5)

    return statistic


def best_threshold(score: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]) -> float | None:
    """The score from which on answers are taken as right: the least one with the highest mean of both shares told.

    Returns:
        One of the scores; None where all answers are right, or all wrong.
    """
    positive, negative = score[right > 0], score[right == 0]
    if not len(positive) or not len(negative):
        return None
    merit = [(positive >= least).mean() + (negative < least).mean() for least in np.unique(score)]
    return float(np.unique(score)[int(np.argmax(merit))])


def _mean_of_known(values: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " n"]:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Float[np.ndarray, " n"] = np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
    return mean


def _asked(
    name: str,
    chance: float,
    answers: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
    statistic: Callable[[Float[np.ndarray, " n"]], Statistic],
    seed: int,
) -> Simulated:
    """Estimate a question and its control over the images that have an answer."""

    def measured(values: Float[np.ndarray, " n"], what: str) -> Estimate:
        rng = numpy_generator(seed, "benchmark observers", name, what, "bootstrap")
        return estimate(statistic(values), len(values), EvaluateConfig(), rng)

    known = ~np.isnan(answers[0]) & ~np.isnan(answers[1])
    found, control = (part[known] for part in answers)
    return Simulated(name, measured(found, "question"), chance, measured(control, "control"), answers[0])
