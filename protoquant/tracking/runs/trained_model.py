"""A trained model with all that is logged with it, in its workspace or in a snapshot kept for later."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from protoquant.core.artifacts import artifact_digest, open_artifact
from protoquant.core.errors import ArtifactError
from protoquant.core.workspace import Workspace
from protoquant.tracking.runs.lineage import Lineage, lineage

if TYPE_CHECKING:
    from protoquant.features.backbone.spec import WeightsSpec

VARIABLES = ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID")
"""MLflow's own variables that decide where a run goes."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model that ``register`` puts into MLflow.

    Attributes:
        workspace: Holds the artifacts; for a snapshot, this is the snapshot's folder.
        name: Name of the registered model.
        alias: The alias that its version gets.
        params: Flat params.yaml.
        kept_origin: Lineage as it was when a snapshot was made; None in a workspace, where it is collected.
        kept_weights: File of backbone weights in a snapshot.
    """

    workspace: Workspace
    name: str
    alias: str
    params: Mapping[str, str]
    kept_origin: Lineage | None = None
    kept_weights: Path | None = None

    @cached_property
    def digest(self) -> str:
        """Digest of the bundle; it names the model."""
        return artifact_digest(self.workspace.bundle)

    @cached_property
    def origin(self) -> Lineage:
        """Where the model comes from."""
        return self.kept_origin or lineage(self.workspace, weight_digest=self._weights.digest)

    def weights_file(self) -> Path | None:
        """The file of backbone weights that goes with the model; None where a package or timm's hub provides them.

        Raises:
            ArtifactError: The file is not where the bundle says.
        """
        if self.kept_origin is not None:
            return self.kept_weights
        if self._weights.file is None:
            return None
        path = self.workspace.root / self._weights.file
        if not path.is_file():
            message = f"the model's weights go into the registry, but {path} is missing; put the file back"
            raise ArtifactError(message)
        return path

    @cached_property
    def _weights(self) -> WeightsSpec:
        from protoquant.model.bundle import Bundle

        return Bundle.open(self.workspace.bundle).backbone.weights

    def check(self) -> None:
        """Check that the bundle is whole, and that numbers and report belong to it and to one set of artifacts.

        Raises:
            ArtifactError: The bundle is damaged, or an artifact was made from another one.
        """
        workspace = self.workspace
        open_artifact(workspace.bundle, "bundle")
        there = {
            "images": artifact_digest(workspace.images),
            "codebook": artifact_digest(workspace.codebook),
            "bundle": self.digest,
            "evaluation": artifact_digest(workspace.evaluation),
        }
        for path, kind in (
            (workspace.bundle, "bundle"),
            (workspace.evaluation, "evaluation"),
            (workspace.report, "report"),
        ):
            inputs = open_artifact(path, kind, verify=False).inputs
            if others := [name for name, digest in there.items() if inputs.get(name, digest) != digest]:
                message = f"{path} was made from another {' and another '.join(others)}; run the pipeline (dvc repro)"
                raise ArtifactError(message)


def own_variables() -> dict[str, str]:
    """MLflow's variables that are set, with their values."""
    return {name: value for name in VARIABLES if (value := os.environ.get(name))}


@contextmanager
def with_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Inside the block, set exactly these of MLflow's variables and unset the others."""
    before = own_variables()
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str]) -> None:
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update({name: values[name] for name in VARIABLES if name in values})
