"""Chooses the epoch of joint training on the images that one fold held out."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.joined_source import JoinedSource
from protoquant.codebook.tokens import SubsetSource, TokenSource, own_part
from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent, track
from protoquant.core.seeding import torch_generator
from protoquant.distributed.ranks import mean_over_ranks
from protoquant.head.choice.crossfit import CrossFitted
from protoquant.head.choice.fold import CrossFitTask
from protoquant.head.choice.rule import smoothed
from protoquant.head.class_weights import ClassWeights, mean_cross_entropy
from protoquant.head.config import JointConfig
from protoquant.head.joint import joint_epochs
from protoquant.head.moving_codes import lower_rates
from protoquant.head.narrowing import final_size
from protoquant.model.head import head_logits
from protoquant.model.scored_split import score_source

WINDOW = 5
"""Epochs whose losses are averaged around each."""


@dataclass(frozen=True)
class HeldOutEpochs:
    """Joint training tried on one fold.

    Attributes:
        losses: Cross-entropy of the fold's held-out images after each epoch, in nats; with class weights all classes
            count the same in it.
        smoothed: Their centred moving average over the epochs that may be taken, which have the head's final size; NaN
            for those before.
        epoch: The epoch of the least average, from 1; the first on a tie.
    """

    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    epoch: int


def held_out_epochs(
    config: JointConfig,
    task: CrossFitTask,
    answers: CrossFitted,
    *,
    place: int,
    temperature: float,
    on_event: OnEvent,
) -> HeldOutEpochs:
    """Train the first fold's codes and head together, and find the epoch that suits the images it held out.

    Args:
        config: Epochs and learning rates.
        task: Images and sections of cross-fitting.
        answers: What cross-fitting found; the first fold's codes and heads never saw its held-out images.
        place: The chosen candidate.
        temperature: Its temperature.
        on_event: Receives progress.

    Raises:
        DataError: A loss is NaN or infinite.
    """
    if answers.start.codebook is None:
        raise ValueError("the first fold must keep its codes and heads")
    epochs = joint_epochs(
        views_of(task, answers.first.fitting),
        answers.start.codebook.to(task.device),
        answers.start.starts[place].to_dense(),
        temperature,
        config=config,
        class_weights=task.class_weights,
        generator=torch_generator(task.seed, "choice", "joint"),
        size=final_size(task.train, place),
    )
    held = own_part(task.part(answers.first.held))
    losses, before = [], 0
    for epoch in track(epochs, "joint training, held-out fold", config.epochs, "epochs", on_event):
        weighing = task.class_weights
        loss = _loss(held, epoch.codebook, epoch.weights, temperature, config.batch, class_weights=weighing)
        if not math.isfinite(loss):
            raise DataError(
                f"the joint loss on a held-out fold is {loss} after epoch {epoch.number}; "
                f"{lower_rates(answers.start.codebook, config)}"
            )
        losses.append(loss)
        before += not epoch.cut
    means = smoothed(torch.tensor(losses[before:], dtype=torch.float64), WINDOW)
    return HeldOutEpochs(tuple(losses), (math.nan,) * before + tuple(means.tolist()), before + int(means.argmin()) + 1)


def views_of(task: CrossFitTask, images: Int64[Tensor, " m"]) -> tuple[TokenSource, ...]:
    """The plain images, then each augmented view of them; an image of validation has its plain one alone."""
    views: list[TokenSource] = [task.part(images)]
    for view in task.views:
        of_train, others = images[images < view.n], images[images >= view.n]
        views.append(JoinedSource((SubsetSource(view, of_train), task.part(others))))
    return tuple(views)


def _loss(
    source: TokenSource,
    codebook: Codebook,
    weights: Float[Tensor, "c k"],
    temperature: float,
    batch: int,
    *,
    class_weights: ClassWeights | None,
) -> float:
    with torch.inference_mode():
        (scores,) = score_source(source, codebook, (temperature,), batch)
        labels = source.labels.to(scores.device)
        logits = head_logits(scores, weights).double()
        judging = None if class_weights is None else class_weights.judging.of_images(labels)
        loss = mean_cross_entropy(logits, labels, judging)
        return float(mean_over_ranks(loss, source.n))
