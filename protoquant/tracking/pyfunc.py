"""The model as MLflow serves it: base64 images in; label, class name, probability and evidence out.

MLflow copies this file into a registered model and runs it on loading (models-from-code), so it holds no state.
"""

import base64
import binascii
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from protoquant.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from protoquant.model import Explanation

COLUMN = "image"
TOP = 5


class ProtoQuantModel(PythonModel):  # type: ignore[misc]
    """Classify images and say which prototypes spoke for the class."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle that was logged with the model."""
        from protoquant.model import Model

        weights = context.artifacts.get("weights")
        self._model = Model.load(Path(context.artifacts["bundle"]), weights=Path(weights) if weights else None)

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classify each row.

        Args:
            model_input: A column ``image``: the bytes of an image file as base64, with or without a ``data:`` prefix;
                in Python also ``pathlib.Path`` objects.
            params: ``top``, the number of contributions in the answer, at least 0.

        Returns:
            Columns ``label``, ``class_name``, ``probability`` in [0, 1] and ``contributions``, a JSON list of the
            prototypes that add most to the class score: code, score, weight, contribution, cell, box.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, naming the row that holds no image.
        """
        top = int((params or {}).get("top", TOP))
        if top < 0:
            raise _refused(f"top must be at least 0, got {top}")
        if COLUMN not in model_input:
            raise _refused(f"expected a column {COLUMN!r}, got {', '.join(map(str, model_input.columns))}")
        images = [_opened(row, value) for row, value in enumerate(model_input[COLUMN])]
        return pd.DataFrame(
            [_answer(self._model.explain(image), top) for image in images],
            columns=["label", "class_name", "probability", "contributions"],
        )


def _opened(row: int, value: object) -> "Image":
    from protoquant.data.images import decode_image, open_image

    try:
        if isinstance(value, Path):
            return open_image(value)
        return decode_image(_bytes(value))
    except DataError as error:
        raise _refused(f"row {row}: {error}") from None


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        message = f"expected the base64 text of an image file, got {type(value).__name__}"
        raise DataError(message)
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        message = "expected the base64 text of an image file, got other text; in Python pass a pathlib.Path for a file"
        raise DataError(message) from None


def _answer(explanation: "Explanation", top: int) -> tuple[int, str, float, str]:
    strongest = sorted(explanation.contributions, key=lambda part: -part.contribution)[:top]
    evidence = [
        {
            "code": int(part.code),
            "score": round(float(part.score), 6),
            "weight": round(float(part.weight), 6),
            "contribution": round(float(part.contribution), 6),
            "cell": [int(side) for side in part.cell],
            "box": [round(float(side), 1) for side in part.box],
        }
        for part in strongest
    ]
    return explanation.label, explanation.class_name, float(explanation.probability), json.dumps(evidence)


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


set_model(ProtoQuantModel())
