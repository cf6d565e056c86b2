"""Gather the evidence for the gates: the bundle of a version, checked against its digests, and its run's numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from protoquant.analysis.diff.paired import Paired, paired
from protoquant.core.artifacts import artifact_digest, open_artifact
from protoquant.core.errors import ArtifactError, DataError, ProtoQuantError
from protoquant.core.events import OnEvent, track
from protoquant.core.runtime import Runtime
from protoquant.core.workspace import Workspace
from protoquant.data.table import ImageTable
from protoquant.evaluation.metrics.registry import PREDICTION, of_tracked
from protoquant.export.export import check_parity
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.spec import BackboneSpec
from protoquant.model.answers_made import IN_SAMPLE, answers_made, presence_made
from protoquant.model.bundle import KIND, Bundle
from protoquant.model.chosen_by import chosen_by
from protoquant.model.classifier import BATCH, Model
from protoquant.model.provenance import nearest_cosine
from protoquant.model.reference import Reference
from protoquant.tracking.connection.mlflow_api import MlflowException, ModelVersion
from protoquant.tracking.connection.outage import unanswered
from protoquant.tracking.connection.store import Store
from protoquant.tracking.promotion.gates import OFF, Gate, GateEvidence
from protoquant.tracking.registry.mlflow_fetch import fetch_from
from protoquant.tracking.registry.source import DIGEST_TAG

_VALIDATION = "images/validation"


@dataclass(frozen=True)
class CandidateVersion:
    """A version with its fetched files.

    Attributes:
        folder: Folder of its bundle, already checked.
        bundle: The bundle, read into memory.
        weights: Its own file of backbone weights, where it has one.
        images: Digest of the validation images that it was chosen on; None where the bundle does not record it.
        evidence: The numbers that the gates compare.
    """

    folder: Path
    bundle: Bundle
    weights: Path | None
    images: str | None
    evidence: GateEvidence

    def model(self) -> Model:
        """Load the whole model on the device that the environment names."""
        return Model.load(self.folder, Runtime.from_environment().torch_device(), self.weights)


def gather(store: Store, version: ModelVersion, into: Path) -> CandidateVersion:
    """Fetch a version and check every byte of its bundle, and its backbone weights, against what was registered.

    Args:
        store: An open store.
        version: The version.
        into: Folder for its files.

    Raises:
        UsageError: Its files are gone.
        ArtifactError: Its files are not those that were registered, or its file of backbone weights is gone.
    """
    uri = f"models:/{version.name}/{version.version}"
    fetched = fetch_from(store, uri, into=into / str(version.version))
    try:
        bundle = Bundle.open(fetched.bundle)
    except ArtifactError as error:
        raise ArtifactError(f"{uri}: {str(error).replace(str(fetched.bundle), 'its bundle')}") from error
    if fetched.tag is None:
        raise ArtifactError(
            f"{uri} has no tag {DIGEST_TAG}, so whether its bundle is the one that was registered cannot be told; "
            "register the model again"
        )
    if bundle.backbone.weights.source == "file":
        _check_weights(uri, bundle.backbone, fetched.weights)
    measured = of_tracked(run_metrics(store, version), "validation")
    evidence = GateEvidence(
        version=int(version.version),
        class_size=int((bundle.head > 0).sum()) / len(bundle.classes),
        grounding=nearest_cosine(bundle.provenance),
        dead_share=None if bundle.reference is None else bundle.reference.codebook.get("dead_share"),
        stability=measured.get(PREDICTION.path),
        test_accuracy=version.tags.get("test_accuracy"),
        metrics=measured,
        codes=bundle.codes_are,
        validation_known=bundle.backbone.weights.may_know_validation,
        chosen_by=chosen_by(bundle.metrics),
    )
    images = open_artifact(fetched.bundle, KIND, verify=False).inputs.get(_VALIDATION)
    return CandidateVersion(fetched.bundle, bundle, fetched.weights, images, evidence)


def _check_weights(uri: str, backbone: BackboneSpec, file: Path | None) -> None:
    """Check the weights that were logged with a version; a champion must not depend on a file of this machine."""
    if file is None:
        raise ArtifactError(f"{uri}: the file of its backbone weights is gone; register the model again")
    try:
        Backbone.load(backbone, "cpu", file)
    except ArtifactError as error:
        said = str(error).replace(str(file), "its file of backbone weights")
        raise ArtifactError(f"{uri}: {said}") from error


def run_metrics(store: Store, version: ModelVersion) -> dict[str, float]:
    """The numbers of the run that a version came from; empty where the run is gone."""
    try:
        return dict(store.client.get_run(version.run_id).data.metrics) if version.run_id else {}
    except MlflowException as error:
        if unanswered(error):
            raise
        return {}


def compare(
    champion: CandidateVersion,
    challenger: CandidateVersion,
    *,
    workspace: Workspace,
    root: Callable[[], Path],
    on_event: OnEvent,
) -> Paired | str:
    """Compare two versions on the challenger's validation images.

    If the champion's bundle has no answers for exactly these images, the champion predicts them anew, provided that the
    workspace holds them and that the champion was not fitted on any of them. Answers of a model for images that it was
    fitted on are never compared.

    Args:
        champion: The present champion.
        challenger: The version to be promoted.
        workspace: Its ``artifacts/images`` may hold the validation images.
        root: Returns the folder of the image files, ``prepare.root``; called only if the champion predicts anew.
        on_event: Receives progress.

    Returns:
        The comparison, or why there is none and what to do.
    """
    before, after = champion.bundle, challenger.bundle
    kept = champion.images == challenger.images and before.reference is not None
    for version in (challenger, champion) if kept else (challenger,):
        if answers_made(version.bundle.metrics) == IN_SAMPLE:
            return _in_sample(version, "its own validation images")
    if after.reference is None or kept:
        return _paired(before, after)
    if _fitted_on(before, after):
        return _in_sample(champion, f"validation images of version {challenger.evidence.version}")
    held = workspace.images / "validation"
    try:
        if artifact_digest(held) == challenger.images:
            return _paired(_asked_again(champion, after, ImageTable.open(workspace.images, root()), on_event), after)
    except ProtoQuantError as error:
        return f"the champion cannot answer for the challenger's validation images: {error}"
    return (
        f"version {champion.evidence.version} was chosen on other validation images than version "
        f"{challenger.evidence.version}; run this where artifacts/images holds those of the latter "
        "(dvc pull or dvc repro)"
    )


def export_gate(challenger: CandidateVersion, *, on: bool) -> Gate:
    """Export the challenger's model and check that the export gives the same answers."""
    if not on:
        return Gate("export", None, OFF)
    try:
        parity = check_parity(challenger.model())
    except ProtoQuantError as error:
        return Gate("export", False, f"the model cannot be exported: {error}")
    said = (
        f"the model and its export differ by at most {parity.logits:.2g} in a logit and {parity.scores:.2g} in a "
        f"presence on {parity.images} golden images; {parity.tolerance:.2g} is allowed"
    )
    return Gate("export", parity.failure is None, said if parity.failure is None else f"{said}: {parity.failure}")


def _fitted_on(before: Bundle, after: Bundle) -> bool:
    """Whether an image that a bundle was fitted on, as far as it names them, is among the other's validation images."""
    named = set(before.provenance["image_id"].astype(str))
    if before.reference is not None and presence_made(before.metrics) == IN_SAMPLE:
        named |= set(before.reference.answers["image_id"].astype(str))
    return after.reference is not None and not named.isdisjoint(after.reference.answers["image_id"].astype(str))


def _in_sample(version: CandidateVersion, images: str) -> str:
    return (
        f"version {version.evidence.version} was fitted on {images}, so its answers for them are in-sample; only "
        "answers for images that a model was not fitted on are compared: train both versions on one split"
    )


def _paired(before: Bundle, after: Bundle) -> Paired | str:
    try:
        return paired(before, after)
    except DataError as error:
        return str(error)


def _asked_again(champion: CandidateVersion, after: Bundle, images: ImageTable, on_event: OnEvent) -> Bundle:
    """The champion's bundle with its answers for the challenger's validation images."""
    table, model = images.split("validation"), champion.model()
    ids = [str(each) for each in table.frame["image_id"]]
    at_least = model.backbone.spec.preprocessing.at_least
    found = [
        answer
        for start in track(range(0, len(ids), BATCH), "champion", -(-len(ids) // BATCH), "batches", on_event)
        for answer in model.predict([table.image(each, at_least=at_least) for each in ids[start : start + BATCH]])
    ]
    # Images of a class that the champion does not know count as misclassified.
    names = [*champion.bundle.classes, *(name for name in after.classes if name not in champion.bundle.classes)]
    answers = pd.DataFrame(
        {
            "image_id": ids,
            "label": [names.index(str(name)) for name in table.frame["class_name"]],
            "predicted": np.array([answer.label for answer in found], dtype=np.int64),
            "probability": [answer.probability for answer in found],
            "logit": [answer.logit for answer in found],
        }
    )
    kept = Reference(answers, (), {}, None, {})
    return replace(champion.bundle, classes=tuple(names), reference=kept)
