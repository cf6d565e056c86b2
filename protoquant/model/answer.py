"""What a model answers when it is in use: a class with the parts that speak for it, or that it knows none."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.model.bundle import Bundle
from protoquant.model.explanation import Box, Prediction, TrainPatch
from protoquant.model.head import contributions, head_logits
from protoquant.model.presence import Presence

DECIMALS = 6
"""Decimals of every number that leaves the model in use; batch and threads round differently in the last of them."""


@dataclass(frozen=True)
class SeenPart:
    """A prototype that speaks for the class, and where.

    Attributes:
        prototype: Number of the code.
        score: Its presence in the image, in [0, 1].
        weight: Its head weight for the class, > 0.
        contribution: score * weight.
        cell: (row, col) where the presence was found.
        box: That cell as (left, top, right, bottom), in pixels of the original image.
        train_image: Id of the training image that holds the patch nearest to the prototype.
        train_class: Class of that image.
    """

    prototype: int
    score: float
    weight: float
    contribution: float
    cell: tuple[int, int]
    box: Box
    train_image: str
    train_class: str


@dataclass(frozen=True)
class Answer:
    """The class of an image and its strongest evidence.

    Attributes:
        label: The class with the highest logit, of equals the lower; or the one that was asked about.
        class_name: Its name.
        probability: Softmax of the logits at that class, in [0, 1].
        logit: Its class score, >= 0: the evidence.
        abstains: Whether the evidence lies below the threshold fitted on validation: no known part is seen.
        contributions: The strongest, largest first.
    """

    label: int
    class_name: str
    probability: float
    logit: float
    abstains: bool
    contributions: tuple[SeenPart, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and parquet, rounded: what every way of asking the model returns."""
        return {
            **asdict(self),
            "probability": round(self.probability, DECIMALS),
            "logit": round(self.logit, DECIMALS),
            "contributions": [_plain(part) for part in self.contributions],
        }


def prediction(logits: Float[Tensor, " c"], classes: Sequence[str], label: int | None = None) -> Prediction:
    """The class of an image by its class scores, or the numbers of the class that is asked about."""
    label = int(logits.argmax()) if label is None else label
    probability = float(torch.softmax(logits, dim=0)[label])
    return Prediction(label, classes[label], probability, float(logits[label]), tuple(logits.tolist()))


def answers(
    found: Presence,
    bundle: Bundle,
    patches: Mapping[int, Sequence[TrainPatch]],
    sizes: Sequence[tuple[int, int]],
    top: int,
    *,
    label: int | None = None,
) -> list[Answer]:
    """What a model answers, from the presence of its prototypes.

    Sums are taken in float64 on the CPU, so that they do not depend on their order, as an account needs it.

    Args:
        found: Presence in n images.
        bundle: The model.
        patches: The training patches of every prototype, nearest first.
        sizes: (width, height) of the n images after EXIF rotation, in pixels.
        top: Contributions in an answer, at most.
        label: The class to account for; the predicted one when absent. Abstention does not depend on it.
    """
    scores, cells, head = found.scores.cpu().double(), found.cells.cpu(), bundle.head.cpu()
    logits = head_logits(scores, head.double())
    chosen = logits.argmax(dim=1) if label is None else torch.full((len(logits),), label)
    parts = contributions(scores, head.double(), chosen)
    preprocessing, below = bundle.backbone.preprocessing, bundle.abstain_below
    made = []
    for row, size in enumerate(sizes):
        one = prediction(logits[row], bundle.classes, label)
        codes = head[one.label].nonzero().flatten()
        order = codes[parts[row, codes].argsort(descending=True, stable=True)[:top]].tolist()
        seen = []
        for code in order:
            cell, nearest = divmod(int(cells[row, code]), bundle.grid[1]), patches[code][0]
            seen.append(
                SeenPart(
                    prototype=code,
                    score=float(scores[row, code]),
                    weight=float(head[one.label, code]),
                    contribution=float(parts[row, code]),
                    cell=cell,
                    box=preprocessing.cell_box(*cell, bundle.grid, *size),
                    train_image=nearest.image_id,
                    train_class=nearest.class_name,
                )
            )
        abstains = below is not None and float(logits[row].max()) < below
        made.append(Answer(one.label, one.class_name, one.probability, one.logit, abstains, tuple(seen)))
    return made


def _plain(part: SeenPart) -> dict[str, Any]:
    return {
        **asdict(part),
        "score": round(part.score, DECIMALS),
        "weight": round(part.weight, DECIMALS),
        "contribution": round(part.contribution, DECIMALS),
        "cell": list(part.cell),
        "box": [round(side, 1) for side in part.box],
    }
