"""The train step, which fits the sparse head on features and codes and writes the bundle."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import top1
from protoquant.codebook.tokens import SubsetSource
from protoquant.core.artifacts import writing
from protoquant.core.errors import DataError
from protoquant.core.events import EpochEvent, MessageEvent, OnEvent
from protoquant.core.seeding import torch_generator
from protoquant.distributed.ranks import alone, mean_over_ranks, own_images, rank
from protoquant.features.store.store import FeatureStore
from protoquant.head.candidates import Fitted, fit_candidates
from protoquant.head.config import JointConfig, TrainConfig
from protoquant.head.grounding.grounding import Price, ground_codes, price_of
from protoquant.head.grounding.patch_choice import Judge, halves
from protoquant.head.inputs import PresenceScores, Scoring, TrainInputs, scoring
from protoquant.head.joint import joint_epochs
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.record import JointRow, TrainingOutcome, bundle_of, head_sentence, referred
from protoquant.head.select import HeadCandidate, select
from protoquant.model.bundle import CROPS, KIND, Bundle
from protoquant.model.head import head_logits
from protoquant.model.provenance import write_crops
from protoquant.model.scored_split import presence_scores


class Pruner(Protocol):
    """A function that carries out ``train.prune``; it is passed in because the prune package imports this one."""

    def __call__(
        self,
        plan: PrunePlan,
        bundle: Bundle,
        stores: Mapping[str, FeatureStore],
        *,
        device: torch.device,
        on_event: OnEvent,
    ) -> tuple[Bundle, pd.DataFrame | None, str]:
        """Return the pruned model, a table with a row for each step (None if there was none), and a summary."""
        ...


@dataclass(frozen=True)
class TrainResult:
    """The written bundle and the choice of the head.

    Attributes:
        out: The bundle's folder.
        chosen: The head that was taken.
        candidates: All heads of the path.
        probe_top1: Accuracy of the linear probe on validation, in [0, 1].
    """

    out: Path
    chosen: HeadCandidate
    candidates: tuple[HeadCandidate, ...]
    probe_top1: float


def train(
    config: TrainConfig,
    *,
    images: Path,
    root: Path,
    features: Path,
    codebook: Path,
    out: Path,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
    prune: Pruner | None = None,
) -> TrainResult:
    """Fit heads of many sizes, choose one on validation, refine it as the config says, and write the bundle.

    The processes of a distributed run fit the head together; the first of them prunes it and writes it.

    Args:
        config: The params section.
        images: The artifact of prepare; gives the class names and, for patch pictures, the train images.
        root: ``prepare.root``.
        features: The artifact of extract; train and validation are opened.
        codebook: The artifact of quantize.
        out: The bundle's folder; an older one is replaced.
        device: Device to compute on.
        seed: The seed of params.yaml; the convex solvers draw no random numbers.
        on_event: Receives progress and an event for each head.
        prune: Carries out ``train.prune``; required if the section is set.

    Returns:
        The chosen head and all others.

    Raises:
        ArtifactError: An input is missing or damaged, or inputs do not belong together.
        DataError: No head can be selected, or a score or loss is NaN.
        ValueError: ``train.prune`` is set but ``prune`` is None.
    """
    if config.prune is not None and prune is None:
        raise ValueError("train.prune needs what carries it out: pass prune=prune_trained")
    given = TrainInputs.open(images=images, root=root, features=features, codebook=codebook)
    with scoring(config, given, out, device, on_event) as room:
        trained = fit(config, given, room, device=device, seed=seed, on_event=on_event)
    bundle = bundle_of(config, given, trained)
    probe_top1 = float(bundle.metrics["probe"]["validation"]["top1"])
    on_event(MessageEvent(head_sentence(trained, probe_top1)))
    result = TrainResult(out, trained.taken.candidate, trained.candidates, probe_top1)
    if rank() == 0:
        with alone():
            _write(config, given, trained, bundle, out=out, device=device, on_event=on_event, prune=prune)
    return result


def _write(
    config: TrainConfig,
    given: TrainInputs,
    trained: TrainingOutcome,
    bundle: Bundle,
    *,
    out: Path,
    device: torch.device,
    on_event: OnEvent,
    prune: Pruner | None,
) -> None:
    """Prune the model if configured, and write it."""
    pruning, sentence = None, ""
    stores = {"train": given.train, "validation": given.validation}
    if config.prune is not None and prune is not None:
        bundle, pruning, sentence = prune(config.prune, bundle, stores, device=device, on_event=on_event)
    bundle = referred(bundle, config, **stores, device=device, on_event=on_event)
    with writing(out, KIND, given.digests) as folder:
        bundle.save(folder, trained.table(), pruning=pruning, joint=trained.joint_table())
        write_crops(
            folder / CROPS,
            bundle.provenance,
            given.images,
            preprocessing=bundle.backbone.preprocessing,
            grid=bundle.grid,
            ranks=config.crops,
            context=config.crop_context,
            size=config.crop_size,
            on_event=on_event,
        )
    if sentence:
        on_event(MessageEvent(sentence))


def fit(
    config: TrainConfig, given: TrainInputs, room: Scoring, *, device: torch.device, seed: int, on_event: OnEvent
) -> TrainingOutcome:
    """Run the steps between the inputs and the bundle: path, joint training and grounding.

    Args:
        config: The params section.
        given: Features and codes.
        room: Scores both splits.
        device: Device to compute on.
        seed: The seed of params.yaml.
        on_event: Receives progress and an event for each head.
    """
    with torch.inference_mode():
        trained = _path(config, given, given.codebook, room.scores(given.codebook), seed=seed, on_event=on_event)
    if config.joint is not None:
        trained = _joint(config.joint, given, trained, room, device=device, seed=seed, on_event=on_event)
    if config.grounding != "centroid":
        with torch.inference_mode():
            trained = _ground(config, given, trained, room, device=device, seed=seed, on_event=on_event)
    return trained


def _path(
    config: TrainConfig, given: TrainInputs, codebook: Codebook, scores: PresenceScores, *, seed: int, on_event: OnEvent
) -> TrainingOutcome:
    """Fit the path for some codes and select one of its heads."""
    fitted = fit_candidates(config, scores.train, scores.validation, given.classes, seed=seed, on_event=on_event)
    candidates = [one.candidate for one in fitted]
    place = select(candidates, tolerance=config.tolerance, max_class_size=config.max_class_size)
    return TrainingOutcome(codebook, scores, tuple(fitted), place)


def _joint(
    config: JointConfig,
    given: TrainInputs,
    trained: TrainingOutcome,
    room: Scoring,
    *,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> TrainingOutcome:
    """Train codes and head together from the chosen head, and keep the epoch that is best on validation."""
    taken = trained.taken.candidate
    epochs = joint_epochs(
        (given.train, *given.train.views),
        trained.codebook.to(device),
        trained.taken.weights.to_dense(),
        taken.temperature,
        config=config,
        generator=torch_generator(seed, "head", "joint"),
    )
    rows, best = [], None
    labels = given.validation.labels[own_images(given.validation.n)].to(device)
    for epoch in epochs:
        with torch.inference_mode():
            held = presence_scores(given.validation, epoch.codebook, taken.temperature, config.batch)
            logits = head_logits(held, epoch.weights)
            loss = float(mean_over_ranks(torch.nn.functional.cross_entropy(logits.double(), labels), len(labels)))
        if not math.isfinite(loss):
            raise DataError(
                f"the joint loss on validation is {loss} after epoch {epoch.number}; lower train.joint.lr_codes, "
                f"{config.lr_codes:g}, and train.joint.lr_head, {config.lr_head:g}"
            )
        row = JointRow(epoch.number, epoch.loss, loss, top1(logits, labels), epoch.drift)
        rows.append(row)
        on_event(EpochEvent("joint", epoch.number, row.values()))
        if best is None or row.merit > best[0].merit:
            best = (row, epoch)
    if best is None:
        raise ValueError("joint training of no epoch gives no head")
    with torch.inference_mode():
        codebook = best[1].codebook.to(torch.device("cpu"))
        scores = room.scores(codebook)
        moved = _measured(trained, best[1].weights, scores, room.temperatures.index(taken.temperature))
    return replace(trained, codebook=codebook, scores=scores, moved=moved, joint=tuple(rows), epoch=best[1].number)


def _measured(trained: TrainingOutcome, weights: torch.Tensor, scores: PresenceScores, place: int) -> Fitted:
    """The chosen head after joint training, with new measurements; the solver's numbers are those before it."""
    used = weights > 0
    candidate = replace(
        trained.taken.candidate,
        nonzeros=int(used.sum()),
        prototypes=int(used.any(dim=0).sum()),
        class_size=int(used.sum()) / len(weights),
        train_top1=top1(head_logits(scores.train.scores[place], weights), scores.train.labels),
        validation_top1=top1(head_logits(scores.validation.scores[place], weights), scores.validation.labels),
    )
    return Fitted(candidate, weights.to_sparse())


def _ground(
    config: TrainConfig,
    given: TrainInputs,
    trained: TrainingOutcome,
    room: Scoring,
    *,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> TrainingOutcome:
    """Tie the codes to train patches, then score and fit again; the result includes the cost.

    If validation images choose the patches, one half of them chooses and only the other half measures.
    """
    every = torch.arange(given.validation.n)
    judging, measuring = halves(given.validation.labels) if config.grounding == "chosen" else (every, every)
    taken = trained.taken
    judge = Judge(
        SubsetSource(given.validation, judging), taken.weights.to_dense(), taken.candidate.temperature, config.batch
    )
    grounded = ground_codes(
        config.grounding,
        config.grounding_patches,
        source=given.train,
        codebook=trained.codebook.to(device),
        judge=judge,
    )
    codebook = grounded.codebook.to(torch.device("cpu"))
    found = room.scores(codebook)
    led = found.train.nearest.led_by(*(part.to(device) for part in grounded.patches))
    scores = PresenceScores(replace(found.train, nearest=led), found.validation.on(measuring.to(device)))
    again = _path(config, given, codebook, scores, seed=seed, on_event=on_event)
    before = trained.scores.validation.on(measuring.to(device))
    fitted = (taken,) if trained.moved is not None else trained.fitted
    price: Price = price_of(fitted, taken.candidate.class_size, again.fitted, before, config.temperatures)
    on_event(MessageEvent(price.sentence(config.grounding)))
    return replace(again, price=price, joint=trained.joint, epoch=trained.epoch)
