"""Trains the chosen head and its codes together, measures every epoch on validation, and keeps one."""

import math
from dataclasses import replace

import torch

from protoquant.codebook.probe import top1
from protoquant.core.errors import ConfigError, DataError
from protoquant.core.events import EpochEvent, OnEvent
from protoquant.core.machine.memory import free_memory
from protoquant.core.seeding import torch_generator
from protoquant.distributed.ranks import mean_over_ranks, own_images, world
from protoquant.head.candidates import Fitted
from protoquant.head.class_weights import ClassWeights, balanced_accuracy, mean_cross_entropy
from protoquant.head.config import JointConfig, TrainConfig
from protoquant.head.inputs import PresenceScores, Scoring, TrainInputs, mapped, scores_bytes
from protoquant.head.joint import joint_epochs
from protoquant.head.joint_memory import JointSizes, lack_of_memory
from protoquant.head.moving_codes import lower_rates
from protoquant.head.record import JointRow, TrainingOutcome
from protoquant.model.head import head_logits
from protoquant.model.scored_split import presence_scores


def check_joint_memory(config: TrainConfig, given: TrainInputs, device: torch.device) -> None:
    """Refuse joint training that would die for lack of memory.

    Raises:
        ConfigError: It needs more than is free.
    """
    if config.joint is None:
        return
    scores = scores_bytes(config, given)
    sizes = JointSizes(
        given.train.shapes,
        images=given.train.n,
        views=len(given.train.views),
        classes=given.classes,
        k=given.codebook.k,
        patches=0 if config.mixture is None else config.mixture.patches,
        heap=device.type == "cpu",
        processes=world(),
    )
    if lack := lack_of_memory(config.joint, sizes, free_memory(device), held=0 if mapped(scores, device) else scores):
        raise ConfigError(lack)


def train_jointly(
    config: JointConfig,
    given: TrainInputs,
    trained: TrainingOutcome,
    room: Scoring,
    *,
    class_weights: ClassWeights | None,
    size: int | None,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> TrainingOutcome:
    """Train codes and head together from the chosen head, and keep one epoch.

    The epoch is the one that a held-out fold chose, or else the best on validation, once the head has its size.

    Args:
        config: The section ``train.joint``.
        given: Features of both splits.
        trained: The path with the chosen head.
        room: Scores both splits.
        class_weights: Weights of the images of each class; None: all count the same, and top-1 compares epochs.
        size: Most weights of a class that the head is to have; None: as many as it starts with.
        device: Device to compute on.
        seed: The seed of params.yaml.
        on_event: Receives an event for each epoch.

    Raises:
        DataError: A loss is NaN or infinite.
    """
    taken = trained.taken.candidate
    epochs = joint_epochs(
        (given.train, *given.train.views),
        trained.codebook.to(device),
        trained.fitted[trained.place].start.to_dense(),
        taken.temperature,
        config=config,
        class_weights=class_weights,
        generator=torch_generator(seed, "head", "joint"),
        size=size,
    )
    rows, best = [], None
    labels = given.validation.labels[own_images(given.validation.n)].to(device)
    judging = None if class_weights is None else class_weights.judging.of_images(labels)
    for epoch in epochs:
        with torch.inference_mode():
            held = presence_scores(given.validation, epoch.codebook, taken.temperature, config.batch)
            logits = head_logits(held, epoch.weights)
            loss = float(mean_over_ranks(mean_cross_entropy(logits.double(), labels, judging), len(labels)))
        if not math.isfinite(loss):
            raise DataError(
                f"the joint loss on validation is {loss} after epoch {epoch.number}; "
                f"{lower_rates(trained.codebook, config)}"
            )
        class_size = int((epoch.weights > 0).sum()) / len(epoch.weights)
        balanced = None if class_weights is None else balanced_accuracy(logits, labels)
        row = JointRow(epoch.number, epoch.loss, loss, top1(logits, labels), epoch.drift, class_size, balanced)
        rows.append(row)
        on_event(EpochEvent("joint", epoch.number, row.values()))
        wanted = epoch.number == trained.tried.epoch if trained.tried else best is None or row.merit > best[0].merit
        if epoch.cut and wanted:
            best = (row, epoch)
    if best is None:
        raise ValueError("joint training of no epoch gives no head")
    with torch.inference_mode():
        codebook = best[1].codebook.to(torch.device("cpu"))
        scores = room.scores(codebook)
        moved = measured(trained, best[1].weights, scores, room.temperatures.index(taken.temperature))
    return replace(trained, codebook=codebook, scores=scores, moved=moved, joint=tuple(rows), epoch=best[1].number)


def measured(trained: TrainingOutcome, weights: torch.Tensor, scores: PresenceScores, place: int) -> Fitted:
    """A later form of the chosen head with new measurements; the solver's numbers are those of its convex fit.

    Args:
        trained: The path with the chosen head.
        weights: The head (c, k).
        scores: Presence of its codes.
        place: Position of its temperature among those of the scores.
    """
    used, before = weights > 0, trained.taken.candidate
    held_out, labels = head_logits(scores.validation.scores[place], weights), scores.validation.labels
    candidate = replace(
        before,
        nonzeros=int(used.sum()),
        prototypes=int(used.any(dim=0).sum()),
        class_size=int(used.sum()) / len(weights),
        train_top1=top1(head_logits(scores.train.scores[place], weights), scores.train.labels),
        validation_top1=top1(held_out, labels),
        balanced_accuracy=None if before.balanced_accuracy is None else balanced_accuracy(held_out, labels),
    )
    return replace(trained.taken, candidate=candidate, weights=weights.to_sparse())
