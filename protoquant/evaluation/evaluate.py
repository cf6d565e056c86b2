"""EVALUATE: measure the bundle once on the test split, without changing it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import artifact_digest, open_artifact, rounded, write_json, writing
from protoquant.core.errors import ArtifactError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.data.parts.table import PartTable
from protoquant.data.table import EXCLUDED, ImageTable, left_out_by_hand, of_excluded
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups.registry import GROUPS, group, lacking
from protoquant.evaluation.metrics.grounding import PROTOTYPES, grounding_numbers, mixture_gap, prototype_table
from protoquant.evaluation.metrics.measure import METRICS, Numbers, judge, measure, measure_abstention
from protoquant.evaluation.metrics.registry import headline
from protoquant.evaluation.score import LogitScorer, score
from protoquant.evaluation.subject import TEST, LackingDataError, Subject
from protoquant.evaluation.tables import write_csv, write_tables
from protoquant.model.answers_made import IN_SAMPLE, presence_made
from protoquant.model.bundle import Bundle
from protoquant.model.grounded import EXACT

KIND = "evaluation"


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
    parts: Path,
    features: Path,
    codebook: Path,
    bundle: Path,
    out: Path,
    metrics: Path,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> EvaluateResult:
    """Measure the bundle and the linear probe on the test split, and what tells about prototypes on others too.

    Args:
        config: Metric groups, intervals, bins, thresholds, decimals.
        images: Written by prepare; image files are opened where a metric group needs pixels.
        root: ``prepare.root``.
        parts: Written by prepare: part annotations, perhaps none.
        features: Written by extract; train and validation are opened where a metric group is measured on them, train
            also for the patches of mixtures.
        codebook: Written by quantize; its linear probe is the yardstick, its codes show how far training moved them.
        bundle: Written by train; read only.
        out: Folder for predictions, contributions and curves.
        metrics: File for the headline numbers alone, as ``dvc metrics`` shows them.
        device: Device to compute on.
        seed: Seed of the bootstrap, of draws of images and of their changes.
        on_event: Receives progress, one line for each metric group that the data has nothing for, and the headline.

    Returns:
        The numbers and where they are.

    Raises:
        ArtifactError: An artifact is missing or damaged, or artifacts do not belong together.
        DataError: The test split is empty, or an image that a metric needs cannot be read.
        UsageError: A metric needs the backbone, and its weights cannot be obtained.
    """
    before = artifact_digest(bundle)
    open_artifact(codebook, "codebook")
    open_artifact(images, "images", verify=False)
    model, probe, tables = Bundle.open(bundle), LinearProbe.open(codebook), ImageTable.open(images, root)
    subject = Subject(model, tables, PartTable.open(parts, root), features, config, seed, device, on_event)
    _check_classes(model, tables.split(TEST))
    _check_codebook(bundle, codebook)
    store, head = subject.store(TEST), model.head.numpy()
    scorer = LogitScorer(model.codebook.to(device), model.head.to(device), model.temperature, probe.to(device), device)
    with torch.inference_mode():
        scores = score(store, scorer, on_event)
    judged = judge(scores, store.labels.numpy())
    prototypes = prototype_table(model, Codebook.open(codebook, verify=False))
    numbers = measure(scores, judged, head, config, seed)
    numbers[TEST]["abstention"] = measure_abstention(scores, judged, model.abstain_below, config, seed)
    gap = _mixture_gap(subject) if model.codes_are == "mixture" else None
    numbers["grounding"] = rounded(asdict(grounding_numbers(prototypes)), config.decimals)
    # The decimals of the other numbers would make 0 of it.
    numbers["grounding"]["mixture_gap"] = None if gap is None else float(f"{gap:.1g}")
    if excluded := left_out_by_hand(images):
        numbers[EXCLUDED] = excluded
    curves = _measure_groups(subject, numbers)
    _check_unchanged(bundle, before, scorer, model)
    inputs = {
        "bundle": before,
        "codebook": artifact_digest(codebook),
        "features": store.digest,
        "images": artifact_digest(images),
        "parts": artifact_digest(parts),
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
        for name, table in {PROTOTYPES: prototypes, **curves}.items():
            write_csv(folder / name, table, config.decimals)
    write_json(metrics, headline(numbers))
    on_event(MessageEvent(_sentence(numbers, balanced=len(set(store.labels.bincount().tolist()) - {0}) > 1)))
    return EvaluateResult(out, metrics, numbers)


def _mixture_gap(subject: Subject) -> float:
    """How far the prototypes are from the mixtures of the patches that the bundle names, in the train features."""
    code, gap = mixture_gap(subject.bundle, subject.store("train"))
    if gap <= EXACT:
        subject.on_event(MessageEvent(f"the patches of every prototype give it, to {gap:.1g}"))
        return gap
    text = (
        f"prototype {code} differs by {gap:.2g} from the mixture of its patches in the train features; it was trained "
        f"on others"
    )
    subject.on_event(MessageEvent(text, "warning"))
    return gap


def _measure_groups(subject: Subject, numbers: Numbers) -> dict[str, pd.DataFrame]:
    """Measure every group that params.yaml names, add its numbers, and collect the tables of the test split.

    A promotion compares numbers of validation, because no test number may decide.
    """
    curves: dict[str, pd.DataFrame] = {}
    inside = presence_made(subject.bundle.metrics) == IN_SAMPLE
    if inside:
        subject.on_event(MessageEvent("evaluate.metrics: validation is not measured, the model was fitted on it too"))
    for name in dict.fromkeys(subject.config.metrics):
        if lack := lacking(name, subject.parts):
            subject.on_event(MessageEvent(f"evaluate.metrics: {name} is not measured, the data has no {lack}"))
            continue
        try:
            splits = [split for split in GROUPS[name].splits if not (inside and split == "validation")]
            results = {split: group(name)(subject, split) for split in splits}
        except LackingDataError as error:
            subject.on_event(MessageEvent(f"evaluate.metrics: {name} is not measured, {error}", "warning"))
            continue
        for split, found in results.items():
            place = numbers if split == TEST else numbers.setdefault(split, {})
            place[name] = rounded(found.numbers, subject.config.decimals)
            curves |= found.tables if split == TEST else {}
    return curves


def _check_classes(model: Bundle, table: ImageTable) -> None:
    if model.classes != table.classes:
        raise ArtifactError(f"the bundle's classes are not those of {table.images}; run dvc repro")


def _check_codebook(bundle: Path, codebook: Path) -> None:
    """Refuse a codebook that the bundle was not trained with."""
    learned = open_artifact(bundle, "bundle", verify=False).inputs
    if learned.get("codebook", given := artifact_digest(codebook)) != given:
        raise ArtifactError(f"{bundle} was trained with another codebook than {codebook}; run train again")


def _check_unchanged(bundle: Path, before: str, scorer: LogitScorer, model: Bundle) -> None:
    """Refuse the result if the bundle changed: compare its files and tensors with those that were opened."""
    same = torch.equal(scorer.head.cpu(), model.head) and torch.equal(scorer.codebook.codes.cpu(), model.codebook.codes)
    fresh = Bundle.open(bundle)
    same = same and torch.equal(fresh.head, model.head) and torch.equal(fresh.codebook.codes, model.codebook.codes)
    if not same or artifact_digest(bundle) != before:
        raise ArtifactError(f"{bundle} changed during evaluation; its numbers are void: run evaluate again")


def _sentence(numbers: dict[str, Any], *, balanced: bool) -> str:
    """The headline in one line; balanced accuracy stands in it where classes differ in their number of images."""
    top1, macro, probe = numbers["test"]["top1"], numbers["test"]["macro"], numbers["test"]["probe"]["top1"]
    measured = of_excluded(numbers.get(EXCLUDED, {}))
    by_hand = f"; {measured}" if measured else ""
    beside = f"balanced accuracy {macro['value']:.4f} ({macro['low']:.4f} to {macro['high']:.4f}), " if balanced else ""
    return (
        f"test top-1 {top1['value']:.4f} ({top1['low']:.4f} to {top1['high']:.4f}, n {top1['n']}), {beside}"
        f"linear probe {probe['value']:.4f}, {numbers['size']['class_size']:.1f} prototypes per class{by_hand}"
    )
