"""The export folder's card: what the exported model's inputs and outputs mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protoquant.core.artifacts import open_artifact, read_json
from protoquant.core.errors import ArtifactError

KIND, CARD, ONNX, PROGRAM = "export", "card.json", "model.onnx", "model.pt2"


class ExportCard(BaseModel):
    """What ``card.json`` says.

    Attributes:
        classes: Class names, index = label = place among the logits.
        prototypes: Number of the code at each place of the scores and cells.
        grid: (h, w) in which the cells are counted.
        temperature: Of the softmax over codes, which is inside the exported model.
        abstain_below: Largest logit below which the model abstains; None: it never does.
        at_least: Short side in pixels from which decoding a larger image adds nothing.
        backbone: timm's name.
        bundle: Digest of the bundle it was made from.
        input: Name, type and axes of the input.
        outputs: Name of each output to what it holds.
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
    """Read an export folder's card, after holding every file against its digest.

    Args:
        path: The folder that export wrote.

    Raises:
        ArtifactError: It is missing, damaged, or holds other files or keys than an export does.
    """
    files = set(open_artifact(path, KIND).files)
    if CARD not in files or not {ONNX, PROGRAM} & files or files - {CARD, ONNX, PROGRAM}:
        raise ArtifactError(
            f"{path} must name {CARD} and {ONNX} or {PROGRAM}, it names {', '.join(sorted(files)) or 'none'}; "
            "run protoquant export again"
        )
    read_json(path / CARD)  # says that the file is not JSON
    try:
        return ExportCard.model_validate_json((path / CARD).read_bytes())
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"])) or "the file"
        raise ArtifactError(
            f"{path / CARD} is no card of an export: {key}: {detail['msg']}; run protoquant export again"
        ) from error
