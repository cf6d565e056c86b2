"""The model as MLflow serves it: base64 images in; label, class name, probability and evidence out.

MLflow copies this file into a registered model and runs it on loading (models-from-code), so it holds no state.
"""

import base64
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from protoquant.core.errors import DataError
from protoquant.core.runtime import Runtime

if TYPE_CHECKING:
    from protoquant.head.explanation import Explanation

COLUMN = "image"
TOP = 5


class ProtoQuantModel(PythonModel):  # type: ignore[misc]
    """Classify images and say which prototypes spoke for the class."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle that was logged with the model."""
        from protoquant.model import Model

        device = Runtime.from_environment().torch_device()
        self._model = Model.load(context.artifacts["bundle"], device, context.artifacts.get("weights"))

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
        with TemporaryDirectory(prefix="protoquant-") as folder:
            rows = [
                self._row(_file(Path(folder), row, value), row, top) for row, value in enumerate(model_input[COLUMN])
            ]
        return pd.DataFrame(rows, columns=["label", "class_name", "probability", "contributions"])

    def _row(self, file: Path, row: int, top: int) -> tuple[int, str, float, str]:
        """Answer for one image as ``protoquant explain`` does for the same file."""
        try:
            explanation = self._model.explain(file)
        except DataError as error:
            raise _refused(f"row {row}: {str(error).replace(str(file), 'the image')}") from None
        return explanation.label, explanation.class_name, float(explanation.probability), _evidence(explanation, top)


def _file(folder: Path, row: int, value: object) -> Path:
    if isinstance(value, Path):
        return value
    file = folder / f"row-{row}"
    file.write_bytes(_bytes(row, value))
    return file


def _bytes(row: int, value: object) -> bytes:
    if not isinstance(value, str):
        raise _refused(f"row {row}: expected the base64 text of an image file, got {type(value).__name__}")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        message = (
            f"row {row}: expected the base64 text of an image file, got other text; for a file pass a pathlib.Path"
        )
        raise _refused(message) from None


def _evidence(explanation: "Explanation", top: int) -> str:
    strongest = sorted(explanation.contributions, key=lambda part: -part.contribution)[:top]
    return json.dumps(
        [
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
    )


def _refused(message: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(message)


set_model(ProtoQuantModel())
