"""The model as MLflow serves it: it takes images and returns label, probability, evidence and abstention.

MLflow copies this file into a registered model and runs it on loading (models-from-code), so it holds no state.
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from protoquant.core.errors import DataError
from protoquant.core.runtime import Runtime

if TYPE_CHECKING:
    from protoquant.model import ImageLike

COLUMN = "image"
TOP = 5
ANSWER = ("label", "class_name", "probability", "logit", "abstains", "contributions")


class ProtoQuantModel(PythonModel):  # type: ignore[misc]
    """Classify images and name the prototypes that contribute to the class."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle that was logged with the model."""
        from protoquant.model import Model

        device = Runtime.from_environment().torch_device()
        self._model = Model.load(context.artifacts["bundle"], device, context.artifacts.get("weights"))

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classify each row.

        Args:
            model_input: A column ``image``: the bytes of an image file as base64, with or without a ``data:`` prefix;
                in Python also ``pathlib.Path`` objects, bytes and uint8 arrays (height, width, 3). URLs are refused,
                and text is never taken as a path, since a client could then read the server's files.
            params: ``top``, the number of contributions in the answer, at least 0.

        Returns:
            Columns ``label``, ``class_name``, ``probability`` in [0, 1], ``logit``, ``abstains`` and ``contributions``,
            a list for each row of the prototypes that add most to the class score, as ``Answer.to_dict`` gives them.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE: ``top`` is negative, the column is missing, or a row, which the
                text names, holds no image.
        """
        top = int((params or {}).get("top", TOP))
        if top < 0:
            raise _refused(f"top must be at least 0, got {top}")
        if COLUMN not in model_input:
            raise _refused(f"expected a column {COLUMN!r}, got {', '.join(map(str, model_input.columns))}")
        rows = [self._row(row, _image(row, value), top) for row, value in enumerate(model_input[COLUMN])]
        return pd.DataFrame(rows, columns=list(ANSWER))

    def _row(self, row: int, image: "ImageLike", top: int) -> dict[str, Any]:
        """Answer for one image alone, so that the other rows cannot change its numbers."""
        try:
            return self._model.answer([image], top)[0].to_dict()
        except DataError as error:
            raise _refused(
                f"row {row}: {str(error).removeprefix('image 0: ').replace('image 0', 'the image')}"
            ) from None


def _image(row: int, value: object) -> "ImageLike":
    if isinstance(value, Path | bytes | np.ndarray):
        return value
    if not isinstance(value, str):
        raise _refused(f"row {row}: expected the base64 text of an image file, got {type(value).__name__}")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # many encoders break lines
    except ValueError:
        message = (
            f"row {row}: expected the base64 text of an image file, got other text; for a file pass a pathlib.Path"
        )
        raise _refused(message) from None


def _refused(message: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(message)


set_model(ProtoQuantModel())
