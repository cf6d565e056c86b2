"""The one module that imports MLflow, after it has set the variables that MLflow reads on import.

Each value is a default: what the user has set stays. ``pyfunc.py`` and ``server.py`` import MLflow too, as MLflow runs
them itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Long enough for a server that restarts within ten seconds; a server that is gone is reported soon, not after
    # minutes: there are tries at 0, 0 and 10 seconds, and each waits ten seconds for an answer.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "5",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_SLOWEST_UPLOAD = 5 * 2**20
"""Bytes per second that a file store must accept; an upload is answered only when the whole file is stored."""

for _variable, _value in _DEFAULTS.items():
    os.environ.setdefault(_variable, _value)

# isort: split
import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    Experiment,
    FileInfo,
    InputTag,
    Metric,
    Param,
    Run,
)
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import ModelSignature  # noqa: E402
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema  # noqa: E402
from mlflow.types.schema import Array, Object, Property  # noqa: E402

__all__ = [
    "Array",
    "ColSpec",
    "DataType",
    "Dataset",
    "DatasetInput",
    "Experiment",
    "FileInfo",
    "InputTag",
    "Metric",
    "MlflowClient",
    "MlflowException",
    "ModelSignature",
    "ModelVersion",
    "Object",
    "Param",
    "ParamSchema",
    "ParamSpec",
    "Property",
    "Run",
    "Schema",
    "hurried",
    "mlflow",
    "waiting_for",
]


@contextmanager
def waiting_for(size: int) -> Iterator[None]:
    """Inside the block, allow an answer to take as long as the upload of a file needs.

    Args:
        size: Bytes of the largest file.
    """
    timeout = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    if os.environ[timeout] != _DEFAULTS[timeout]:
        yield
        return
    with _set({timeout: str(int(_DEFAULTS[timeout]) + size // _SLOWEST_UPLOAD)}):
        yield


@contextmanager
def hurried() -> Iterator[None]:
    """Inside the block, use a short timeout and one immediate retry, as the server may have closed the connection."""
    with _set({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}):
        yield


@contextmanager
def _set(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ[name] for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.update(before)
