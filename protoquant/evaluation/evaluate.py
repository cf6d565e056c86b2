"""EVALUATE: measure the bundle once on the test split, without changing it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import artifact_digest, open_artifact, write_json, writing
from protoquant.core.errors import ArtifactError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.seeding import numpy_generator
from protoquant.data.table import ImageTable
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.grounding import PROTOTYPES, prototype_table
from protoquant.evaluation.metrics.measure import (
    METRICS,
    judge,
    measure,
    measure_abstention,
    measure_explanations,
    stability_numbers,
)
from protoquant.evaluation.metrics.registry import headline
from protoquant.evaluation.metrics.stability import STABILITY, Stability, measure_stability
from protoquant.evaluation.score import LogitScorer, score
from protoquant.evaluation.tables import write_csv, write_tables
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle

KIND = "evaluation"
SPLIT = "test"
CHOSEN_ON = "validation"


@dataclass(frozen=True)
class EvaluateResult:
    """The numbers and where they are.

    Attributes:
        out: Folder of the tables.
        metrics: File of the headline numbers.
        numbers: All numbers, as ``metrics.json`` in ``out`` holds them.
    """

    out: Path
    metrics: Path
    numbers: dict[str, Any]


def evaluate(
    config: EvaluateConfig,
    *,
    images: Path,
    root: Path,
    features: Path,
    codebook: Path,
    bundle: Path,
    out: Path,
    metrics: Path,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> EvaluateResult:
    """Measure the bundle and the linear probe on the test split.

    Args:
        config: Intervals, bins, thresholds, decimals.
        images: Written by prepare; test images are opened where stability is measured.
        root: ``prepare.root``.
        features: Written by extract; only its test split is opened.
        codebook: Written by quantize; its linear probe is the yardstick, its codes show how far training moved them.
        bundle: Written by train; read only.
        out: Folder for predictions, contributions and curves.
        metrics: File for the headline numbers alone, as ``dvc metrics`` shows them.
        device: Device to compute on.
        seed: Seed of the bootstrap, of the draw of images and of their changes.
        on_event: Receives progress after each image, and a message with the headline.

    Returns:
        The numbers and where they are.

    Raises:
        ArtifactError: An artifact is missing or damaged, or artifacts do not belong together.
        DataError: The test split is empty, or an image that stability needs cannot be read.
        UsageError: Stability is to be measured, and the backbone's weights cannot be obtained.
    """
    before = artifact_digest(bundle)
    open_artifact(codebook, "codebook")
    model, store, probe = Bundle.open(bundle), FeatureStore.open(features / SPLIT), LinearProbe.open(codebook)
    open_artifact(images, "images", verify=False)
    tables = ImageTable.open(images, root)
    _check_fit(model, store, tables.split(SPLIT))
    _check_origin(bundle, store, images=images, codebook=codebook)
    scorer = LogitScorer(model.codebook.to(device), model.head.to(device), model.temperature, probe.to(device), device)
    with torch.inference_mode():
        scores = score(store, scorer, on_event)
    judged, head = judge(scores, store.labels.numpy()), model.head.numpy()
    prototypes = prototype_table(model, Codebook.open(codebook, verify=False))
    stability = _stability(config, model, tables, device=device, seed=seed, on_event=on_event)
    numbers = measure(scores, judged, head, config, seed)
    numbers["test"]["abstention"] = measure_abstention(scores, judged, model.abstain_below, config, seed)
    numbers |= measure_explanations(prototypes, stability.get(SPLIT), config, seed)
    if CHOSEN_ON in stability:
        # A promotion compares these numbers, because no test number may decide.
        numbers[CHOSEN_ON] = {"stability": stability_numbers(stability[CHOSEN_ON], config, seed)}
    _check_unchanged(bundle, before, scorer, model)
    inputs = {
        "bundle": before,
        "codebook": artifact_digest(codebook),
        "features": store.digest,
        "images": artifact_digest(images),
    }
    with writing(out, KIND, inputs, n=store.n, epsilon=config.epsilon) as folder:
        write_json(folder / METRICS, numbers)
        write_tables(
            folder,
            image_ids=store.image_ids,
            classes=model.classes,
            scores=scores,
            judged=judged,
            head=head,
            config=config,
        )
        write_csv(folder / PROTOTYPES, prototypes, config.decimals)
        if SPLIT in stability:
            write_csv(folder / STABILITY, stability[SPLIT].table(), config.decimals)
    write_json(metrics, headline(numbers))
    on_event(MessageEvent(_sentence(numbers)))
    return EvaluateResult(out, metrics, numbers)


def _stability(
    config: EvaluateConfig,
    model: Bundle,
    images: ImageTable,
    *,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> dict[str, Stability]:
    """Measure stability on images drawn from test and from validation, by split; empty where none are asked for."""
    if config.stability_images == 0:
        return {}
    backbone, found = Backbone.load(model.backbone, device), {}
    for split in (SPLIT, CHOSEN_ON):
        table = images.split(split)
        image_ids = sorted(table.frame["image_id"])
        drawn = numpy_generator(seed, "evaluate", "stability").permutation(len(image_ids))[: config.stability_images]
        found[split] = measure_stability(
            model,
            backbone,
            table,
            [image_ids[position] for position in sorted(drawn.tolist())],
            epsilon=config.epsilon,
            seed=seed,
            label=f"stability, {split}",
            on_event=on_event,
        )
    return found


def _check_fit(model: Bundle, store: FeatureStore, table: ImageTable) -> None:
    """Refuse artifacts that were not made for each other."""
    again = "run dvc repro"
    if model.classes != table.classes:
        raise ArtifactError(f"the bundle's classes are not those of {table.images}; {again}")
    if model.backbone != store.backbone or tuple(model.grid) != store.grid:
        raise ArtifactError(
            f"the bundle was trained on {model.backbone.name}, grid {tuple(model.grid)}; the test features are of "
            f"{store.backbone.name}, grid {store.grid}, or of other weights or preprocessing; {again}"
        )


def _check_origin(bundle: Path, store: FeatureStore, *, images: Path, codebook: Path) -> None:
    """Refuse a codebook that the bundle was not trained with, and features of other images."""
    learned = open_artifact(bundle, "bundle", verify=False).inputs
    if learned.get("codebook", given := artifact_digest(codebook)) != given:
        raise ArtifactError(f"{bundle} was trained with another codebook than {codebook}; run train again")
    if store.inputs.get("images", given := artifact_digest(images / SPLIT)) != given:
        raise ArtifactError(f"{store.path} was extracted from other images than {images / SPLIT}; run extract again")


def _check_unchanged(bundle: Path, before: str, scorer: LogitScorer, model: Bundle) -> None:
    """Refuse the result if the bundle changed: compare its files and tensors with those that were opened."""
    same = torch.equal(scorer.head.cpu(), model.head) and torch.equal(scorer.codebook.codes.cpu(), model.codebook.codes)
    fresh = Bundle.open(bundle)
    same = same and torch.equal(fresh.head, model.head) and torch.equal(fresh.codebook.codes, model.codebook.codes)
    if not same or artifact_digest(bundle) != before:
        raise ArtifactError(f"{bundle} changed during evaluation; its numbers are void: run evaluate again")


def _sentence(numbers: dict[str, Any]) -> str:
    """The headline in one line."""
    top1, probe = numbers["test"]["top1"], numbers["test"]["probe"]["top1"]
    return (
        f"test top-1 {top1['value']:.4f} ({top1['low']:.4f} to {top1['high']:.4f}, n {top1['n']}), "
        f"linear probe {probe['value']:.4f}, {numbers['size']['class_size']:.1f} prototypes per class"
    )
