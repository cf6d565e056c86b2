"""The train step, which fits the sparse head on features and codes and writes the bundle."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.tokens import SubsetSource
from protoquant.core.artifacts import writing
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.distributed.ranks import alone, rank
from protoquant.features.store.store import FeatureStore
from protoquant.head.candidates import fit_candidates
from protoquant.head.choice.choose import HeadChoice, choose_head
from protoquant.head.choice.crossfit import cross_fit, prepare_task
from protoquant.head.choice.fold import CrossFitTask
from protoquant.head.choice.joint_epoch import held_out_epochs
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import ChoiceConfig, TrainConfig, check_views
from protoquant.head.grounding.grounding import Price, ground_codes, price_of
from protoquant.head.grounding.patch_choice import Judge, halves
from protoquant.head.inputs import PresenceScores, Scoring, TrainInputs, scoring
from protoquant.head.joint_stage import check_joint_memory, train_jointly
from protoquant.head.kind_of_codes import few_patches, of_kind
from protoquant.head.last_fit import fit_on_all
from protoquant.head.narrowing import final_size
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.record import TrainingOutcome, answered_by, bundle_of, head_sentence, never_predicted, referred
from protoquant.head.select import HeadCandidate, select
from protoquant.model.bundle import CROPS, KIND, Bundle
from protoquant.model.provenance import write_crops


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
    """Fit heads of many sizes, choose one, refine it as the config says, and write the bundle.

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
        ConfigError: ``train.choice`` cannot cross-fit these images or this codebook, memory is too small for joint
            training, or ``train.class_weights`` does not name these classes; nothing was computed.
        DataError: No head can be selected, or a score or loss is NaN.
        ValueError: ``train.prune`` is set but ``prune`` is None.
    """
    if config.prune is not None and prune is None:
        raise ValueError("train.prune needs what carries it out: pass prune=prune_trained")
    given = TrainInputs.open(images=images, root=root, features=features, codebook=codebook)
    check_views(config, len(given.train.views))
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
    if trained.twin is not None:
        twin = referred(bundle_of(config, given, trained.twin), config, **stores, device=device, on_event=on_event)
        bundle = answered_by(bundle, twin)
    if said := never_predicted(bundle, weighed=config.class_weights != "none"):
        on_event(MessageEvent(said, "warning"))
    with writing(out, KIND, given.digests) as folder:
        bundle.save(
            folder, trained.table(), pruning=pruning, joint=trained.joint_table(), choice=trained.choice_table()
        )
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
    """Run the steps between the inputs and the bundle: path, choice, and joint training or grounding.

    Args:
        config: The params section.
        given: Features and codes.
        room: Scores both splits.
        device: Device to compute on.
        seed: The seed of params.yaml.
        on_event: Receives progress and an event for each head.

    Raises:
        ConfigError: ``train.choice`` cannot cross-fit these images or this codebook, memory is too small for joint
            training, or ``train.class_weights`` does not name these classes; nothing was computed.
    """
    class_weights = ClassWeights.of(config.class_weights, given.images.classes)
    check_joint_memory(config, given, device)
    task = None
    if config.choice is not None:
        task = prepare_task(config, config.choice, given, room=room.folder, device=device, seed=seed)
    codebook = of_kind(config, given.codebook.to(device), given.train).to(torch.device("cpu"))
    if few := few_patches(config, codebook, given.train, given.images.classes):
        on_event(MessageEvent(few, "warning"))
    with torch.inference_mode():
        scores = room.scores(codebook)
        trained = _path(config, given, codebook, scores, class_weights=class_weights, seed=seed, on_event=on_event)
    if config.choice is not None and task is not None:
        trained = _chosen(config, config.choice, task, trained, on_event)
    if config.joint is not None:
        size = final_size(config, trained.place)
        trained = train_jointly(
            config.joint,
            given,
            trained,
            room,
            class_weights=class_weights,
            size=size,
            device=device,
            seed=seed,
            on_event=on_event,
        )
    if config.fit_on == "all" and task is not None:
        trained = fit_on_all(task, trained, room, on_event)
    if config.grounding != "centroid":
        with torch.inference_mode():
            trained = _ground(
                config, given, trained, room, class_weights=class_weights, device=device, seed=seed, on_event=on_event
            )
    return trained


def _path(
    config: TrainConfig,
    given: TrainInputs,
    codebook: Codebook,
    scores: PresenceScores,
    *,
    class_weights: ClassWeights | None,
    seed: int,
    on_event: OnEvent,
) -> TrainingOutcome:
    """Fit the path for some codes and select one of its heads on validation."""
    splits = scores.train, scores.validation
    fitted = fit_candidates(config, *splits, given.classes, class_weights=class_weights, seed=seed, on_event=on_event)
    candidates = [one.candidate for one in fitted]
    place = select(candidates, tolerance=config.tolerance, max_class_size=config.max_class_size)
    return TrainingOutcome(codebook, scores, tuple(fitted), place)


def _chosen(
    config: TrainConfig, choice: ChoiceConfig, task: CrossFitTask, trained: TrainingOutcome, on_event: OnEvent
) -> TrainingOutcome:
    """Choose another head of the path by cross-fitting, and the epoch at which joint training will end."""
    started = time.monotonic()
    answers = cross_fit(task, choice, on_event)
    chosen: HeadChoice = choose_head(config, choice, answers, trained.candidates)
    on_event(MessageEvent(f"{chosen.sentence()}; {time.monotonic() - started:.1f} s"))
    trained = replace(trained, place=chosen.place, choice=chosen)
    if config.joint is None:
        return trained
    started = time.monotonic()
    temperature = trained.taken.candidate.temperature
    tried = held_out_epochs(config.joint, task, answers, place=chosen.place, temperature=temperature, on_event=on_event)
    on_event(
        MessageEvent(
            f"joint training: epoch {tried.epoch} of {config.joint.epochs} by the loss of held-out images, "
            f"{tried.smoothed[tried.epoch - 1]:.4f}; {time.monotonic() - started:.1f} s"
        )
    )
    return replace(trained, tried=tried)


def _ground(
    config: TrainConfig,
    given: TrainInputs,
    trained: TrainingOutcome,
    room: Scoring,
    *,
    class_weights: ClassWeights | None,
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
        SubsetSource(given.validation, judging),
        taken.weights.to_dense(),
        taken.candidate.temperature,
        config.batch,
        None if class_weights is None else class_weights.judging.of_images(given.validation.labels[judging]),
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
    again = _path(config, given, codebook, scores, class_weights=class_weights, seed=seed, on_event=on_event)
    before = trained.scores.validation.on(measuring.to(device))
    price: Price = price_of(trained.fitted, taken.candidate.class_size, again.fitted, before, config.temperatures)
    on_event(MessageEvent(price.sentence(config.grounding)))
    place = again.place if trained.choice is None else trained.place
    return replace(trained, codebook=codebook, scores=scores, fitted=again.fitted, place=place, price=price)
