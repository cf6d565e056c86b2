"""Versions in a registry, made fast: true bundles of two classes whose answers, codes and weights a test chooses."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.entities import LoggedModelOutput

from protoquant.core.artifacts import artifact_digest
from protoquant.tracking.connection.experiments import experiment_id
from protoquant.tracking.connection.store import Store
from protoquant.tracking.promotion.config import GatesConfig
from protoquant.tracking.registry.registry import create_version, point_alias
from tests.builders.bundles import bundle, nearest, write_bundle
from tests.builders.references import reference

CLASSES = ("wren", "robin")
N = 40
NO_GIT = GatesConfig(export=False, lock=False)
IMAGES = "a" * 64


@dataclass(frozen=True)
class Made:
    """A bundle that answers ``wrong`` of 40 validation images wrongly."""

    wrong: int = 2
    weights: tuple[tuple[float, ...], ...] = ((2.0, 0.0, 0.0), (0.0, 3.0, 0.0))
    cosine: float = 0.8
    dead_share: float = 0.1
    images: str = IMAGES
    reference: bool = True
    first: str = "first"
    metrics: dict[str, float] = field(default_factory=lambda: {"evaluate.validation.stability.prediction.value": 0.9})

    def write(self, out: Path) -> str:
        """Write the bundle; returns its digest."""
        head = torch.tensor(self.weights)
        used = (head > 0).any(dim=0).nonzero().flatten().tolist()
        labels = np.arange(N) % 2
        said = reference(
            used,
            np.where(np.arange(N) < self.wrong, 1 - labels, labels),
            labels,
            ids=[f"{self.first}/{number:03d}.png" for number in range(N)],
            probability=0.9,
            logit=3.0,
            below=0.5,
            health={"dead_share": self.dead_share},
        )
        made = bundle(
            torch.eye(3, 4),
            head,
            classes=CLASSES,
            grid=(2, 2),
            patches=nearest(used, [[(f"{code}.png", 0, 0)] * 2 for code in used], self.cosine),
            metrics={"validation": {"top1": 1 - self.wrong / N}},
            measured=said if self.reference else None,
        )
        return artifact_digest(write_bundle(out, made, inputs={"images/validation": self.images}))


def add(store: Store, folder: Path, made: Made | None = None, *, name: str = "birds", **tags: str) -> int:
    """Register a bundle as ``register`` does, without MLflow's packing; it becomes challenger. Returns the version."""
    made = made or Made()
    digest = made.write(folder / "artifacts" / "bundle")
    experiment = experiment_id(store, name)
    run_id = store.client.create_run(experiment).info.run_id
    for metric, value in made.metrics.items():
        store.client.log_metric(run_id, metric, value)
    model = store.client.create_logged_model(
        experiment, name="model", source_run_id=run_id, tags={"bundle_digest": digest}
    )
    store.client.log_model_artifacts(model.model_id, str(folder))
    store.client.finalize_logged_model(model.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    found: dict[str, Any] = {"bundle_digest": digest, "test_accuracy": "0.9000", "validation_accuracy": "0.9500"}
    version = create_version(
        store.client, name, model_id=model.model_id, run_id=run_id, tags=found | tags, description="A sentence."
    )
    point_alias(store.client, name, "challenger", int(version.version))
    return int(version.version)


def files_of(store: Store, version: int, name: str = "birds") -> Path:
    """The folder of a version's bundle in a store on disk."""
    source = store.client.get_model_version(name, str(version)).source
    (found,) = store.artifacts.rglob(f"{source.removeprefix('models:/')}/artifacts/artifacts/bundle")
    return found
