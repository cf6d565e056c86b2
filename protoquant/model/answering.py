"""Predictions and answers, computed from the presence of prototypes."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.model.answer import Answer, SeenPart
from protoquant.model.bundle import Bundle
from protoquant.model.contributions import Contributions
from protoquant.model.explanation import Prediction, TrainPatch
from protoquant.model.head import head_logits
from protoquant.model.presence import Look
from protoquant.model.region import peak_region


def prediction(logits: Float[Tensor, " c"], classes: Sequence[str], label: int | None = None) -> Prediction:
    """The prediction of an image from its class scores, for the best class or for the requested one."""
    label = int(logits.argmax()) if label is None else label
    probability = float(torch.softmax(logits, dim=0)[label])
    return Prediction(label, classes[label], probability, float(logits[label]), tuple(logits.tolist()))


def answers(
    seen: Look,
    bundle: Bundle,
    patches: Mapping[int, Sequence[TrainPatch]],
    sizes: Sequence[tuple[int, int]],
    top: int,
    *,
    label: int | None = None,
) -> list[Answer]:
    """Answer for images, given their comparison with the model's codebook.

    Sums are taken in float64 on the CPU, so that a logit equals the sum of its contributions in any order.

    Args:
        seen: Similarities and shares of n images.
        bundle: The model.
        patches: The training patches of every prototype, nearest first.
        sizes: (width, height) of the n images after EXIF rotation, in pixels.
        top: Maximum number of contributions in an answer.
        label: The class to account for; the predicted one when absent. Abstention does not depend on it.
    """
    found = seen.pooled()
    scores, cells, head = found.scores.cpu(), found.cells.cpu(), bundle.head.cpu()
    logits = head_logits(scores.double(), head.double())
    preprocessing, below = bundle.backbone.preprocessing, bundle.abstain_below
    made = []
    for row, size in enumerate(sizes):
        one = prediction(logits[row], bundle.classes, label)
        own = Contributions.to_class(scores[row], cells[row], head[one.label], bundle.grid[1])
        parts = list(own.parts(top))
        maps = seen.shares[row][:, [part.code for part in parts]].T.reshape(-1, *bundle.grid).cpu().numpy()
        placed = tuple(
            SeenPart(
                **vars(part),
                box=peak_region(shares, part.cell).box(preprocessing.cell_box, bundle.grid, size),
                train_image=patches[part.code][0].image_id,
                train_class=patches[part.code][0].class_name,
            )
            for part, shares in zip(parts, maps, strict=True)
        )
        abstains = below is not None and float(logits[row].max()) < below
        made.append(Answer(one.label, one.class_name, one.probability, one.logit, abstains, placed))
    return made
