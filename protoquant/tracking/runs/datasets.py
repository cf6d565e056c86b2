"""Log the data of a model as MLflow's own data sets: name, digest, columns and counts of each split, but no image."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from protoquant.core.artifacts import MANIFEST, read_json
from protoquant.data.splits import SPLITS
from protoquant.data.table import DTYPES, SUMMARY
from protoquant.tracking.connection.mlflow_api import ColSpec, Dataset, DatasetInput, InputTag, MlflowClient, Schema
from protoquant.tracking.runs.trained_model import TrainedModel

_CONTEXT = "mlflow.data.context"
_TYPES = {"str": "string", "int64": "long", "int32": "integer"}
_DIGEST = 12
"""Characters of a digest: MLflow refuses more than 36, and its pages show the rest of a line only behind few."""


def log_data(client: MlflowClient, run_id: str, trained: TrainedModel) -> None:
    """Log a data set for each split; one that the run already has stays.

    MLflow takes data sets of one name and digest for one, so each split comes with the digest of its own artifact.

    Args:
        client: An open client.
        run_id: The run; running or finished.
        trained: The model; the manifest of its ``artifacts/images`` names the splits.

    Raises:
        ArtifactError: The manifest is missing or damaged.
    """
    images = trained.workspace.images
    files = read_json(images / MANIFEST)["files"]
    root = trained.params.get("prepare.root", "")
    source = ("s3" if root.startswith("s3://") else "local", json.dumps({"uri": root}))
    schema = json.dumps({"mlflow_colspec": Schema([ColSpec(_TYPES[t], name) for name, t in DTYPES.items()]).to_dict()})
    inputs = [
        DatasetInput(
            Dataset(
                PurePosixPath(root).name.removesuffix(".yaml") or "images",
                files[f"{split}/{MANIFEST}"]["sha256"][:_DIGEST],
                *source,
                schema=schema,
                profile=_profile(images, split),
            ),
            [InputTag(_CONTEXT, split)],
        )
        for split in SPLITS
    ]
    client.log_inputs(run_id, inputs)


def _profile(images: Path, split: str) -> str | None:
    """The counts of a split; None in a snapshot of an older version, which does not hold them."""
    if not (images / SUMMARY).is_file():
        return None
    summary = read_json(images / SUMMARY)
    return json.dumps({"images": summary["images"][split], "classes": summary["classes"]})
