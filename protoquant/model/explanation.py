"""The numbers of a prediction and of its explanation, without any drawing."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from protoquant.features.backbone.preprocessing import Box
from protoquant.model.contributions import PlacedPart
from protoquant.model.region import CellRegion


@dataclass(frozen=True)
class Prediction:
    """The class of an image.

    Attributes:
        label: The class with the highest logit (the lower index on a tie), or the requested class.
        class_name: Its name.
        probability: Softmax of the logits at that class, in [0, 1].
        logit: Its class score, >= 0.
        logits: Class scores, one for each class.
    """

    label: int
    class_name: str
    probability: float
    logit: float
    logits: tuple[float, ...]


@dataclass(frozen=True)
class TrainPatch:
    """A training patch that a prototype stands for.

    Attributes:
        rank: From 0: largest weight first, then nearest first.
        image_id: Relative path of the training image.
        label: Its class.
        class_name: The class's name.
        cell: (row, col) in the grid.
        cosine: Similarity with the prototype, in [-1, 1].
        crop: Picture of the patch; None where the bundle was written without it.
        weight: Weight of the patch in the mixture that the prototype is, in [0, 1]; None for free codes.
    """

    rank: int
    image_id: str
    label: int
    class_name: str
    cell: tuple[int, int]
    cosine: float
    crop: Path | None
    weight: float | None = None


@dataclass(frozen=True)
class Contribution(PlacedPart):
    """The contribution of one prototype to the class score, with its maps and training patches.

    Attributes:
        region: The region around the cell, in cells; ``box`` is the same in pixels.
        similarity: Cosine with the prototype at every cell (h, w), in [-1, 1].
        presence: Share of the prototype in the softmax over codes at every cell (h, w); its maximum is the score.
        patches: Nearest training patches, nearest first.
    """

    region: CellRegion
    similarity: Float[np.ndarray, "h w"]
    presence: Float[np.ndarray, "h w"]
    patches: tuple[TrainPatch, ...]


@dataclass(frozen=True)
class Explanation:
    """A class score as the sum of its contributions.

    Attributes:
        label: The class that is explained.
        class_name: Its name.
        predicted: The class with the highest logit.
        probability: Softmax of the logits at ``label``, in [0, 1].
        logit: Class score of ``label``: the sum of the contributions.
        contributions: One for each prototype of the class, largest first, ties by code.
        width: Width of the image after EXIF rotation, in pixels.
        height: Its height after that rotation, in pixels.
        view: The region that the backbone sees, as (left, top, right, bottom) in pixels of the image.
        grid: (h, w), in cells; it lies on the frame.
        frame: The view with the padding around it, which reaches beyond the image where ``extract.view`` pads.
    """

    label: int
    class_name: str
    predicted: int
    probability: float
    logit: float
    contributions: tuple[Contribution, ...]
    width: int
    height: int
    view: Box
    grid: tuple[int, int]
    frame: Box

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: maps become lists of rows, paths become text."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value
