"""Prunes a bundle on disk and writes its successor."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from protoquant.core.artifacts import artifact_digest, open_artifact, writing
from protoquant.core.errors import ArtifactError, UsageError
from protoquant.core.events import OnEvent
from protoquant.features.store.store import FeatureStore
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.record import referred
from protoquant.model.bundle import CROPS, KIND, PATH, Bundle
from protoquant.model.provenance import crop_name
from protoquant.prune.apply import PrunedBundle, fitted_with, prune_bundle, pruning_sentence


@dataclass(frozen=True)
class PruneResult:
    """The new bundle and a summary of its pruning.

    Attributes:
        out: Folder of the new bundle.
        table: One row for the start and one for each step.
        sentence: A one-line summary.
        images: Validation images that the table is measured on.
    """

    out: Path
    table: pd.DataFrame
    sentence: str
    images: int


def open_for_pruning(bundle: Path, features: Path, names: Sequence[str]) -> tuple[Bundle, dict[str, FeatureStore]]:
    """Open a bundle and the features it was trained on.

    Args:
        bundle: The bundle's folder.
        features: The artifact of extract.
        names: Splits to open.

    Raises:
        ArtifactError: Something is missing or damaged, or the features do not belong to the bundle.
    """
    opened = Bundle.open(bundle)
    stores = {name: FeatureStore.open(features / name, opened.backbone.layers) for name in names}
    inputs = open_artifact(bundle, KIND, verify=False).inputs
    for name, store in stores.items():
        if inputs.get(f"features/{name}", store.digest) != store.digest:
            raise ArtifactError(f"{bundle} was trained on other {name} features than {features}; run train again")
        if store.backbone != opened.backbone or store.grid != tuple(opened.grid):
            raise ArtifactError(f"{store.path} is of another backbone or grid than {bundle}; run extract again")
    return opened, stores


def prune_and_write(
    plan: PrunePlan, *, bundle: Path, features: Path, out: Path, device: torch.device, on_event: OnEvent
) -> PruneResult:
    """Carry out a plan on a bundle and write the resulting model.

    Args:
        plan: The pruning plan.
        bundle: The bundle's folder; it is only read.
        features: The artifact of extract; train and validation are opened, test is not.
        out: Folder of the new bundle; an older one is replaced.
        device: Device to compute on.
        on_event: Receives progress and an event for each step.

    Raises:
        UsageError: ``out`` is the bundle itself. ArtifactError: As for :func:`open_for_pruning`.
        DataError: The plan cannot be carried out on this head.
    """
    if out.resolve() == bundle.resolve():
        raise UsageError(f"--out must be another folder than the bundle {bundle}, which the plan starts from")
    opened, stores = open_for_pruning(bundle, features, ("train", "validation"))
    pruned = prune_bundle(plan, opened, stores, device=device, on_event=on_event)
    # The old bundle's inputs are kept, so that evaluate can find the linear probe that belongs to the model.
    inputs = {**open_artifact(bundle, KIND, verify=False).inputs, "bundle": artifact_digest(bundle)}
    whole = referred(pruned.bundle, fitted_with(opened), **stores, device=device, on_event=on_event)
    with writing(out, KIND, inputs) as folder:
        whole.save(folder, pd.read_csv(bundle / PATH), pruning=pruned.table)
        _copy_crops(opened, pruned, folder / CROPS)
    return PruneResult(out, pruned.table, pruning_sentence(pruned.bundle.metrics), stores["validation"].n)


def _copy_crops(before: Bundle, pruned: PrunedBundle, folder: Path) -> None:
    """Copy the pictures of the remaining prototypes under their new indices."""
    table = pruned.bundle.provenance
    for code, rank in zip(table["code"].tolist(), table["rank"].tolist(), strict=True):
        picture = before.crop(pruned.codes[code], rank)
        if picture is not None:
            folder.mkdir(exist_ok=True)
            shutil.copyfile(picture, folder / crop_name(code, rank))
