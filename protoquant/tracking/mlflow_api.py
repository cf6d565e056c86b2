"""The one place that imports MLflow, after the settings that MLflow reads while it is imported.

Each setting is a default: what the user has set stays. Only ``pyfunc.py`` imports MLflow too; MLflow runs it.
"""

import os

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down is told of after half a minute, not after four.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
}

for _variable, _value in _DEFAULTS.items():
    os.environ.setdefault(_variable, _value)

# isort: split
import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import FileInfo, Metric, Param, Run  # noqa: E402
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import ModelSignature  # noqa: E402
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema  # noqa: E402

__all__ = [
    "ColSpec",
    "DataType",
    "FileInfo",
    "Metric",
    "MlflowClient",
    "MlflowException",
    "ModelSignature",
    "ModelVersion",
    "Param",
    "ParamSchema",
    "ParamSpec",
    "Run",
    "Schema",
    "mlflow",
]
