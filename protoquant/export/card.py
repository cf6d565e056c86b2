"""The card of an export folder, which describes the inputs and outputs of the exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protoquant.core.artifacts import open_artifact, read_json
from protoquant.core.errors import ArtifactError

KIND, CARD, ONNX, PROGRAM = "export", "card.json", "model.onnx", "model.pt2"


class ExportCard(BaseModel):
    """The content of ``card.json``.

    Attributes:
        classes: Class names in the order of the logits; the index is the label.
        prototypes: Code index of each prototype, in the order of the scores, cells and maps.
        grid: Size (h, w) of the grid of the cells.
        temperature: Temperature of the softmax over codes, which is inside the exported model.
        abstain_below: The model abstains if its largest logit is below this; None: it never abstains.
        at_least: Short side in pixels beyond which decoding a larger image adds nothing.
        backbone: timm's name of the backbone.
        bundle: Digest of the bundle that was exported.
        input: Name, type and axes of the input.
        outputs: Description of each output, by name.
        parity: Differences from the bundle's own model on the golden images, by file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    classes: tuple[str, ...] = Field(min_length=2)
    prototypes: tuple[int, ...]
    grid: tuple[int, int]
    temperature: float = Field(gt=0.0)
    abstain_below: float | None
    at_least: int = Field(ge=1)
    backbone: str
    bundle: str
    input: dict[str, str]
    outputs: dict[str, str]
    parity: dict[str, dict[str, Any]]


def open_card(path: Path) -> ExportCard:
    """Read an export folder's card, after checking every file against its digest.

    Args:
        path: The folder that export wrote.

    Raises:
        ArtifactError: The folder is missing or damaged, or holds other files or keys than an export does.
    """
    files = set(open_artifact(path, KIND).files)
    if CARD not in files or not {ONNX, PROGRAM} & files or files - {CARD, ONNX, PROGRAM}:
        raise ArtifactError(
            f"{path} must name {CARD} and {ONNX} or {PROGRAM}, it names {', '.join(sorted(files)) or 'none'}; "
            "run protoquant export again"
        )
    read_json(path / CARD)  # raises a clear error if the file is not JSON
    try:
        return ExportCard.model_validate_json((path / CARD).read_bytes())
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"])) or "the file"
        raise ArtifactError(
            f"{path / CARD} is no card of an export: {key}: {detail['msg']}; run protoquant export again"
        ) from error
