"""Runs one trial, from the first searched section to a model measured on held-out images; it leaves no files behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from protoquant.core.errors import ProtoQuantError, one_line
from protoquant.core.events import EpochEvent, Event, OnEvent, ignore
from protoquant.core.runtime import Runtime
from protoquant.core.workspace import Workspace
from protoquant.model.chosen_by import BALANCED, ChosenBy, chosen_by
from protoquant.sweep.plan import SweepPlan
from protoquant.sweep.points import SearchPoint

if TYPE_CHECKING:
    import torch

    from protoquant.codebook.probe import FittedProbe
    from protoquant.head.config import TrainConfig
    from protoquant.head.record import TrainingOutcome
    from protoquant.model.bundle import Bundle

MEASURE = "accuracy"
_HEARD: Mapping[ChosenBy, tuple[str, str]] = {
    "top1": ("validation_top1", "cross_fitted_top1"),
    "balanced_accuracy": ("balanced_accuracy", "cross_fitted_balanced_accuracy"),
}
"""Names of the accuracy so far in events: on validation, and cross-fitted."""


@dataclass(frozen=True)
class Job:
    """The data that all trials of a sweep share.

    Attributes:
        plan: Plan of the sweep.
        root: The workspace, under the same path on every node.
        device: Device, named as in ``PROTOQUANT_DEVICE``.
        probe: The linear probe of the features, on the CPU; None if trials fit their own.
    """

    plan: SweepPlan
    root: Path
    device: str
    probe: FittedProbe | None

    @classmethod
    def prepare(cls, plan: SweepPlan, workspace: Workspace, device: str) -> Job:
        """Fit the linear probe once if no searched key changes it.

        Args:
            plan: Plan of the sweep.
            workspace: The workspace whose features are read.
            device: Device, named as in ``PROTOQUANT_DEVICE``.
        """
        if not (plan.learns_codes and plan.shares_probe):
            return cls(plan, workspace.root, device, None)
        from protoquant.codebook.quantize import features_probe
        from protoquant.features.store.store import FeatureStore
        from protoquant.settings.settings import Settings

        settings = Settings.parse(plan.params)
        folders = (workspace.features / name for name in ("train", "validation"))
        train, validation = (FeatureStore.open(folder, settings.quantize.layers) for folder in folders)
        computed = Runtime.from_environment(device).torch_device(settings.threads)
        fitted = features_probe(settings.quantize, train, validation, computed)
        return cls(plan, workspace.root, device, _on(fitted, "cpu"))


def run_trial(job: Job, point: SearchPoint, tell: Callable[[float], None]) -> dict[str, Any]:
    """Run a trial.

    Args:
        job: The data that all trials share.
        point: The point that this trial tries.
        tell: Receives the best accuracy so far: on validation after every head and every joint epoch, or with
            cross-fitting after every repeat.

    Returns:
        Plain values: ``error``, one line or empty; ``seconds``; and without an error ``numbers`` of the trial's model
        and ``path``, the rows of all heads.
    """
    started = time.monotonic()
    try:
        found = _measure(job, point, _listener(job.plan, tell))
    except (ProtoQuantError, OSError) as error:
        return {"error": one_line(error), "seconds": time.monotonic() - started}
    return {"error": "", "seconds": time.monotonic() - started, **found}


def _measure(job: Job, point: SearchPoint, on_event: OnEvent) -> dict[str, Any]:
    from protoquant.codebook.quantize import quantize
    from protoquant.head.inputs import TrainInputs, scoring
    from protoquant.head.record import bundle_of
    from protoquant.head.train import fit
    from protoquant.prune.apply import prune_trained

    workspace, settings = Workspace(job.root), point.settings(job.plan.params)
    training = _training(job.plan, settings.train)
    job.plan.check_inputs(workspace)
    device = Runtime.from_environment(job.device).torch_device(settings.threads)
    with TemporaryDirectory(prefix="protoquant-trial-") as folder:
        codebook = workspace.codebook
        if job.plan.learns_codes:
            codebook = Path(folder) / "codebook"
            probe = None if job.probe is None else _on(job.probe, device)
            quantize(
                settings.quantize,
                features=workspace.features,
                parts=workspace.parts,
                out=codebook,
                device=device,
                seed=settings.seed,
                on_event=ignore,
                probe=probe,
            )
        given = TrainInputs.open(
            images=workspace.images,
            root=workspace.root / settings.prepare.root,
            features=workspace.features,
            codebook=codebook,
        )
        with scoring(training, given, Path(folder) / "bundle", device, ignore) as room:
            trained = fit(training, given, room, device=device, seed=settings.seed, on_event=on_event)
        bundle = bundle_of(training, given, trained)
        if training.prune is not None:
            stores = {"train": given.train, "validation": given.validation}
            bundle, *_ = prune_trained(training.prune, bundle, stores, device=device, on_event=on_event)
    numbers = _numbers(bundle, trained)
    return {"numbers": numbers, "path": [*_path(trained), {**numbers, "final": True}]}


def _training(plan: SweepPlan, config: TrainConfig) -> TrainConfig:
    """The section with one way to measure: cross-fitted heads without what comes after them, or validation alone."""
    if not plan.cross_fits:
        return config.model_copy(update={"choice": None, "fit_on": "train"})
    return config.model_copy(update={"fit_on": "train", "joint": None, "prune": None})


def _listener(plan: SweepPlan, tell: Callable[[float], None]) -> OnEvent:
    best, heard = 0.0, _HEARD[plan.measure][plan.cross_fits]

    def hear(event: Event) -> None:
        nonlocal best
        if isinstance(event, EpochEvent) and heard in event.values:
            best = max(best, event.values[heard])
            tell(best)

    return hear


def _numbers(bundle: Bundle, trained: TrainingOutcome) -> dict[str, Any]:
    """Return the numbers that ``train`` writes into the bundle's manifest, and the accuracy that counts with its n.

    Of balanced accuracy, n is the number of images of equal weight that would make it as certain.
    """
    metrics = bundle.metrics
    by = chosen_by(metrics)
    counted = metrics.get("choice", metrics["validation"])
    told = ("temperature", "penalty", "nonzeros", "prototypes", "class_size")
    return {
        "k": bundle.codebook.k,
        "accuracy": counted[by],
        "n": counted["n"] if by == "top1" else _effective(trained),
        "probe_top1": metrics["probe"]["validation"]["top1"],
        "train_top1": metrics["train"]["top1"],
        "validation_top1": metrics["validation"]["top1"],
        **{name: metrics[name] for name in told},
    }


def _effective(trained: TrainingOutcome) -> int:
    from protoquant.head.class_weights import ClassWeights, effective_images

    if trained.choice is not None:
        answers = trained.choice.answers
        return round(effective_images(answers.counted, answers.losses.shape[1]))
    labels = trained.scores.validation.labels
    return round(effective_images(ClassWeights(len(trained.taken.weights)).of_images(labels), len(labels)))


def _path(trained: TrainingOutcome) -> list[dict[str, Any]]:
    """Return the rows of the heads as they were fitted before joint training, apart from the grounding of the codes."""
    told = ("temperature", "penalty", "nonzeros", "prototypes", "class_size", "train_top1", "validation_top1")
    rows = [asdict(one.candidate) for one in trained.fitted]
    held_out = [one.accuracy for one in trained.candidates]
    if trained.choice is not None:
        table = trained.choice.table
        held_out = table[BALANCED if BALANCED in table else "top1"].tolist()
    return [
        {"k": trained.codebook.k, **{name: row[name] for name in told}, "accuracy": accuracy, "final": False}
        for row, accuracy in zip(rows, held_out, strict=True)
    ]


def _on(fitted: FittedProbe, device: torch.device | str) -> FittedProbe:
    import torch

    return replace(fitted, probe=fitted.probe.to(torch.device(device)))
