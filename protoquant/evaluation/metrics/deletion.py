"""Deletion and insertion over prototypes: whether those said to matter most are those that the answer rests on.

The account of an image is the prototypes that contribute to its predicted class. Deletion takes them from the image
one by one, so that each is missing from the scores of all classes; insertion puts them back into the image without
them. Presence of the others stays as it is: nothing competes anew.

Source:
    Petsiuk et al. 2018 (RISE), with prototypes in place of pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.metrics.accuracy import softmax

SHARES = np.linspace(0.0, 1.0, 21)
"""Shares of the account at which curves of images are averaged."""
CURVES = ("deletion", "deletion_random", "insertion", "insertion_random")


@dataclass(frozen=True)
class AnswerCurve:
    """The answer of one image while its account shrinks or grows.

    Attributes:
        probability: Probability of the class predicted on the whole image (m + 1), after 0 to m of m prototypes.
        correct: 1.0 where the true class has the largest score, else 0.0 (m + 1).
    """

    probability: Float[np.ndarray, " m1"]
    correct: Float[np.ndarray, " m1"]

    @property
    def area(self) -> float:
        """Area under the probability over the share of the account, in [0, 1]."""
        if len(self.probability) == 1:
            return float(self.probability[0])
        return float(np.trapezoid(self.probability, dx=1.0 / (len(self.probability) - 1)))


@dataclass(frozen=True)
class Deletion:
    """Curves of n images, in the order of ``CURVES``.

    Attributes:
        areas: Area under the probability (n, 4).
        probability: The probability at ``SHARES`` (n, 4, shares).
        correct: The same of whether the answer is right.
    """

    areas: Float[np.ndarray, "n 4"]
    probability: Float[np.ndarray, "n 4 s"]
    correct: Float[np.ndarray, "n 4 s"]

    def area(self, name: str) -> Float[np.ndarray, " n"]:
        """The area of every image under one of the ``CURVES``."""
        found: Float[np.ndarray, " n"] = self.areas[:, CURVES.index(name)]
        return found

    def table(self) -> pd.DataFrame:
        """The mean curves: share of the account, then the probability and the accuracy (``_top1``) of each curve."""
        frame = pd.DataFrame({"share": SHARES})
        for place, name in enumerate(CURVES):
            frame[name] = self.probability[:, place].mean(axis=0)
            frame[f"{name}_top1"] = self.correct[:, place].mean(axis=0)
        return frame


def account(contributions: Float[np.ndarray, " k"]) -> Int[np.ndarray, " m"]:
    """The prototypes that contribute, largest first; the lower code where two are equal."""
    order = np.argsort(-contributions, kind="stable")
    found: Int[np.ndarray, " m"] = order[contributions[order] > 0]
    return found


def curve(
    scores: Float[np.ndarray, " k"],
    head: Float[np.ndarray, "c k"],
    order: Int[np.ndarray, " m"],
    label: int,
    *,
    insertion: bool = False,
) -> AnswerCurve:
    """Take prototypes from an image in order, or put them back into the image without them.

    Args:
        scores: Presence of every code.
        head: Non-negative weights.
        order: The prototypes, first to move first.
        label: The true class.
        insertion: Whether to put them back.
    """
    whole = head @ scores
    moved = np.cumsum(scores[order, None] * head[:, order].T, axis=0)
    steps = np.vstack([np.zeros((1, len(head))), moved])
    logits = whole - steps[-1] + steps if insertion else whole - steps
    predicted = int(whole.argmax())
    return AnswerCurve(softmax(logits)[:, predicted], (logits.argmax(axis=1) == label).astype(np.float64))


def delete_and_insert(
    image_ids: Sequence[str],
    labels: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, "n k"],
    head: Float[np.ndarray, "c k"],
    seed: int,
) -> Deletion:
    """Measure every image by its own order and, as a baseline, by a random order of the same prototypes.

    Args:
        image_ids: Each names its image's random stream, so no number depends on the other images.
        labels: True classes.
        scores: Presence of every code.
        head: Non-negative weights.
        seed: The seed of params.yaml.
    """
    areas, probability, correct = [], [], []
    for image_id, label, presence in zip(image_ids, labels.tolist(), scores, strict=True):
        seen = presence.astype(np.float64)
        ranked = account(seen * head[int((head @ seen).argmax())])
        shuffled = numpy_generator(seed, "evaluate", "deletion", image_id).permutation(ranked)
        curves = [
            curve(seen, head, order, label, insertion=insertion)
            for insertion in (False, True)
            for order in (ranked, shuffled)
        ]
        areas.append([one.area for one in curves])
        probability.append([_at_shares(one.probability) for one in curves])
        correct.append([_at_shares(one.correct) for one in curves])
    return Deletion(np.array(areas), np.array(probability), np.array(correct))


def _at_shares(values: Float[np.ndarray, " m1"]) -> Float[np.ndarray, " s"]:
    found: Float[np.ndarray, " s"] = np.interp(SHARES, np.linspace(0.0, 1.0, len(values)), values)
    return found
