"""The protocols of FunnyBirds, each for one image.

Source:
    Hesse, Schaub-Meyer and Roth 2023, FunnyBirds: a synthetic vision dataset for a part-based analysis of explainable
    AI methods, section 4. Unlike the public code, the last class has sufficient sets too, and an image whose class has
    no pair of classes for target sensitivity is skipped and counted.
"""

import warnings

import numpy as np
from jaxtyping import Float
from scipy import stats

from protoquant.evaluation.metrics.funnybirds.classes import ClassParts
from protoquant.evaluation.metrics.funnybirds.scores import Outcome, Skip
from protoquant.evaluation.metrics.funnybirds.trial import Importance, Trial, felt

Thresholds = Float[np.ndarray, " t"]


def accuracy(trial: Trial) -> Outcome:
    """1 where the class of the image itself is the true one."""
    return float(trial.predicted == trial.label)


def background_independence(trial: Trial) -> Outcome:
    """Share of the objects whose removal does not lower the score of the true class by a twentieth or more.

    The published score pools the objects of all images, so an image weighs as many as it has objects.
    """
    if not len(trial.without_object):
        return Skip.NO_OBJECT
    return 1.0 - float(felt(trial.logits[trial.label], trial.without_object[:, trial.label]).mean())


def synthetic_data_check(trial: Trial, found: Importance, classes: ClassParts, thresholds: Thresholds) -> Outcome:
    """CSDC: the largest share of a minimal sufficient set of the class that is among the important parts.

    Of images with the right answer alone. It is a recall: an explanation that calls every part important scores 1, and
    ``distractibility`` is its counterweight.
    """
    if trial.predicted != trial.label:
        return Skip.WRONG_ANSWER
    sets = classes.sufficient[trial.label].astype(np.float64)
    if not len(sets):
        return Skip.NO_SUFFICIENT_SET
    important = found.important_parts(trial.label, thresholds).astype(np.float64)
    recall: Float[np.ndarray, " t"] = (important @ sets.T / sets.sum(axis=1)).max(axis=1)
    return recall


def preservation_check(trial: Trial, found: Importance, classes: ClassParts, thresholds: Thresholds) -> Outcome:
    """PC: 1 where the answer stays if only the parts that are important for it are kept."""
    del classes
    important = found.important_parts(trial.predicted, thresholds)
    return (trial.keeping(important).argmax(axis=1) == trial.predicted).astype(np.float64)


def deletion_check(trial: Trial, found: Importance, classes: ClassParts, thresholds: Thresholds) -> Outcome:
    """DC: 1 where the answer changes if the parts that are important for it are removed."""
    del classes
    important = found.important_parts(trial.predicted, thresholds)
    return (trial.keeping(~important).argmax(axis=1) != trial.predicted).astype(np.float64)


def distractibility(trial: Trial, found: Importance, classes: ClassParts, thresholds: Thresholds) -> Outcome:
    """D: the share of irrelevant parts and objects that the explanation of the true class does not call important.

    Irrelevant is what can be removed without lowering the score of the true class by a twentieth or more. Where the
    score is 0, nothing lowers it, and all is irrelevant.
    """
    del classes
    after = np.concatenate([trial.without_part, trial.without_object])[:, trial.label]
    irrelevant = ~felt(trial.logits[trial.label], after)
    if not irrelevant.any():
        return Skip.NOTHING_IRRELEVANT
    important = found.important_parts(trial.label, thresholds, with_objects=True)
    spared: Float[np.ndarray, " t"] = 1.0 - important[:, irrelevant].mean(axis=1)
    return spared


def single_deletion(trial: Trial, found: Importance, classes: ClassParts, thresholds: Thresholds) -> Outcome:
    """SD: rank correlation of the importance of parts with what their removal takes from the score of the true class.

    Spearman's, moved from [-1, 1] to [0, 1]. Undefined where all parts are equally important, or all removals take the
    same.
    """
    del classes, thresholds
    taken = trial.logits[trial.label] - trial.without_part[:, trial.label]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        rank = float(stats.spearmanr(found.parts[:, trial.label], taken).statistic)
    return Skip.CONSTANT if np.isnan(rank) else (rank + 1) / 2


def target_sensitivity(trial: Trial, found: Importance, classes: ClassParts, thresholds: Thresholds) -> Outcome:
    """TS: whether the explanations of two classes tell apart which parts of the image speak for which.

    Two classes share two parts each with the true one, and no part with each other's two. Of images whose removals
    show that the model itself tells them apart: the score of each class falls lower without its own two parts than
    without the other's. There are two votes, one for the parts of each class: whether they are more important in the
    explanation of their own class than in that of the other.
    """
    del thresholds
    pair = classes.pairs[trial.label]
    if pair is None:
        return Skip.NO_PAIR
    labels, shared = [one.label for one in pair], np.array([one.shared for one in pair])
    after = trial.keeping(~shared)[:, labels]
    if not (after[0, 0] < after[1, 0] and after[1, 1] < after[0, 1]):
        return Skip.OTHER_RESPONSE
    held = shared.astype(np.float64) @ found.parts[:, labels]
    return (float(held[0, 0] > held[0, 1]) + float(held[1, 1] > held[1, 0])) / 2
