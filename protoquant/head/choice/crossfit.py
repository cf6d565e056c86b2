"""Cross-fitting: every image of train and validation answered by heads that were fitted without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.joined_source import JoinedSource
from protoquant.codebook.probe import pooled_tokens
from protoquant.codebook.seeding.size import resolve_size
from protoquant.core.errors import ConfigError, ProtoQuantError
from protoquant.core.events import EpochEvent, OnEvent, track
from protoquant.core.machine.side_by_side import side_by_side
from protoquant.distributed.ranks import alone, gather_over_ranks, own
from protoquant.head.choice.fold import CrossFitTask, HeldOut, answer_fold
from protoquant.head.choice.folds import Fold, check_folds, stratified_folds
from protoquant.head.choice.rule import calibrated_losses, over_images
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import BudgetConfig, ChoiceConfig, TrainConfig
from protoquant.head.inputs import TrainInputs

MOST = 1 << 32
"""Bytes of held-out logits that may be in memory."""


@dataclass(frozen=True)
class CrossFitted:
    """Held-out answers of every candidate for every image, averaged over repeats.

    Attributes:
        losses: Log-loss (m, n) after temperature scaling, in nats, float64.
        right: Share of the repeats in which the answer is right (m, n), in [0, 1], float64.
        counted: Weight of every image where candidates are compared (n), of mean 1, by which all classes count the
            same; None: all images count the same.
        sizes: Size of every candidate (m): prototypes per class that the solver was asked for, or else found.
        first: The first fold of the first repeat.
        start: Its codes and heads, from which joint training is tried on the images that it holds out.
    """

    losses: Float[Tensor, "m n"]
    right: Float[Tensor, "m n"]
    counted: Float[Tensor, " n"] | None
    sizes: Float[Tensor, " m"]
    first: Fold
    start: HeldOut


def prepare_task(
    config: TrainConfig,
    choice: ChoiceConfig,
    given: TrainInputs,
    *,
    room: Path | None,
    device: torch.device,
    seed: int,
) -> CrossFitTask:
    """Check that cross-fitting is possible, before anything is computed.

    Args:
        config: The section of train.
        choice: Its section ``choice``.
        given: Features of both splits, and what the codebook says of quantize.
        room: Folder for memory-mapped scores; None to keep them in memory.
        device: Device to compute on.
        seed: The seed of params.yaml.

    Raises:
        ConfigError: The codebook does not say how it was learned, a class has too few images, the codebook's size
            does not suit a fold, or the answers need too much memory.
    """
    if given.quantize_params is None:
        raise ConfigError(
            "train.choice learns the codebook again on every fold, but this codebook does not say how it was learned; "
            "run quantize again, or set train.choice to null (params.yaml)"
        )
    quantize = QuantizeConfig.parse(given.quantize_params, where="quantize", source="the codebook")
    images = JoinedSource((given.train, given.validation))
    check_folds(images.labels, choice.folds, given.images.classes)
    task = CrossFitTask(
        config,
        quantize,
        images,
        tuple(given.train.views),
        given.classes,
        ClassWeights.of(config.class_weights, given.images.classes),
        seed=seed,
        device=device,
        room=room,
        on_object=given.on_object,
    )
    _check_memory(task)
    for fold in stratified_folds(task.labels, choice.folds, choice.repeats, seed):
        try:
            resolve_size(quantize, task.labels[fold.fitting], images.t)
        except ProtoQuantError as error:
            raise ConfigError(
                f"train.choice fits the codebook on a part of the images, where {error}; or set train.choice to null"
            ) from error
    return task


def cross_fit(task: CrossFitTask, choice: ChoiceConfig, on_event: OnEvent) -> CrossFitted:
    """Let every image be answered, in each repeat, by heads that were fitted on the other folds.

    In a distributed run every process fits some of the folds.

    Args:
        task: From :func:`prepare_task`.
        choice: Number of folds and repeats.
        on_event: Receives progress, and an event for each repeat with the best accuracy so far.

    Raises:
        DataError: No code tells any class apart in a fold, or a token holds NaN or infinity.
    """
    labels, folds = task.labels, stratified_folds(task.labels, choice.folds, choice.repeats, task.seed)
    counted = None if task.class_weights is None else task.class_weights.judging.of_images(labels)
    measure = "top1" if task.class_weights is None else "balanced_accuracy"
    with alone():
        pooled = pooled_tokens(task.images, task.quantize.batch, task.device)
    losses: list[Tensor] = []
    right: list[Tensor] = []
    sizes: list[Tensor] = []
    start: HeldOut | None = None
    for repeat in range(choice.repeats):
        some = [fold for fold in folds if fold.repeat == repeat]
        answers = _answers(task, some, pooled, f"cross-fitting, repeat {repeat + 1} of {choice.repeats}", on_event)
        start = start or answers[0]
        measured = [_measure(*each, counted) for each in _candidates(some, answers, labels)]
        losses.append(torch.stack([loss for loss, _ in measured]))
        right.append(torch.stack([hits for _, hits in measured]))
        sizes.extend(answer.sizes.double() for answer in answers)
        accuracies = over_images(torch.stack(right).mean(dim=0), counted).mean(dim=1)
        on_event(EpochEvent("choice", repeat + 1, {f"cross_fitted_{measure}": float(accuracies.max())}))
    return CrossFitted(
        torch.stack(losses).mean(dim=0),
        torch.stack(right).mean(dim=0),
        counted,
        _asked_sizes(task.train, torch.stack(sizes).mean(dim=0)),
        folds[0],
        cast("HeldOut", start),
    )


def _answers(
    task: CrossFitTask, folds: Sequence[Fold], pooled: Float[Tensor, "n d"], label: str, on_event: OnEvent
) -> list[HeldOut]:
    """The answers of all folds of a repeat; each process fits its share of them."""
    mine = folds[own(len(folds))]

    def answer(fold: Fold) -> HeldOut:
        with alone():
            return answer_fold(task, fold, pooled, keep=fold.repeat == fold.number == 0)

    found = list(track(side_by_side(answer, mine, task.at_once), label, len(mine), "folds", on_event))
    return [answer for some in gather_over_ranks(found) for answer in some]


def _candidates(
    folds: Sequence[Fold], answers: Sequence[HeldOut], labels: Int64[Tensor, " n"]
) -> list[tuple[Float[Tensor, "1 n c"], Int64[Tensor, " n"], Int64[Tensor, " n"]]]:
    """For every candidate its logits of all images, the labels, and the fold of every image."""
    order = torch.cat([fold.held for fold in folds]).argsort()
    fold_of = torch.cat([torch.full_like(fold.held, fold.number) for fold in folds])[order]
    logits = torch.cat([answer.logits for answer in answers], dim=1)[:, order]
    return [(one[None], labels, fold_of) for one in logits]


def _measure(
    logits: Float[Tensor, "1 n c"],
    labels: Int64[Tensor, " n"],
    fold_of: Int64[Tensor, " n"],
    counted: Float[Tensor, " n"] | None,
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Log-loss of every image, and whether it is answered rightly."""
    losses = calibrated_losses(logits.double(), labels, fold_of, counted)[0]
    return losses, (logits[0].argmax(dim=1) == labels).double()


def _asked_sizes(config: TrainConfig, found: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Sizes that are equal where the solver was asked for the same budget, whatever a fold found."""
    if config.solver != "budget":
        return found
    sizes = cast("BudgetConfig", config.budget).sizes
    return torch.tensor(sizes, dtype=torch.float64).repeat(len(config.temperatures))


def _check_memory(task: CrossFitTask) -> None:
    heads = len(task.train.budget.sizes) if task.train.budget else task.train.points
    needed = 4 * task.images.n * task.classes * heads * len(task.train.temperatures)
    if needed > MOST:
        raise ConfigError(
            f"train.choice would hold {needed / 2**30:.1f} GiB of held-out logits, at most {MOST >> 30} GiB are "
            f"allowed (params.yaml); so many images need no cross-fitting: set train.choice to null"
        )
