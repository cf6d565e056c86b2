"""The last fit on train and validation together, by the recipe that was chosen without it."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import pooled_tokens
from protoquant.core.events import MessageEvent, OnEvent, ignore, track
from protoquant.core.seeding import torch_generator
from protoquant.distributed.ranks import alone
from protoquant.head.choice.fold import CrossFitTask, learn_part
from protoquant.head.choice.folds import Fold
from protoquant.head.choice.joint_epoch import views_of
from protoquant.head.config import JointConfig
from protoquant.head.inputs import Scoring
from protoquant.head.joint import joint_epochs
from protoquant.head.joint_stage import measured
from protoquant.head.narrowing import final_size, wide_head
from protoquant.head.record import TrainingOutcome
from protoquant.head.solvers.registry import SOLVERS, FitTask
from protoquant.model.scored_split import score_source

_LAST = -1
"""Names the random streams of this fit, beside those of repeats."""


def fit_on_all(task: CrossFitTask, trained: TrainingOutcome, room: Scoring, on_event: OnEvent) -> TrainingOutcome:
    """Fit codes and head again on the images of both splits, at the chosen size, temperature and epoch.

    The model that was fitted on train alone stays in the outcome as the twin: it answers validation. In a distributed
    run every process makes the whole fit.

    Args:
        task: From cross-fitting.
        trained: The finished model of train alone.
        room: Scores both splits.
        on_event: Receives progress.

    Raises:
        DataError: No code tells any class apart, or a token or a loss holds NaN or infinity.
    """
    temperature = trained.taken.candidate.temperature
    on_event(MessageEvent(f"last fit: codes and head on all {task.images.n:,} images of train and validation"))
    with alone():
        model = _refit(task, trained, temperature)
        if task.train.joint is not None:
            model = _together(task, task.train.joint, model, trained, on_event)
        codebook, weights = model
    codebook = codebook.to(torch.device("cpu"))
    with torch.inference_mode():
        scores = room.scores(codebook)
        moved = measured(trained, weights, scores, room.temperatures.index(temperature))
    # Its answers for validation are in-sample; those of the twin are not.
    held_out = trained.taken.candidate
    candidate = replace(
        moved.candidate, validation_top1=held_out.validation_top1, balanced_accuracy=held_out.balanced_accuracy
    )
    return replace(trained, codebook=codebook, scores=scores, moved=replace(moved, candidate=candidate), twin=trained)


def _refit(task: CrossFitTask, trained: TrainingOutcome, temperature: float) -> tuple[Codebook, Float[Tensor, "c k"]]:
    """Codes and convex head of all images; with joint training, the head with which it starts."""
    every = torch.arange(task.images.n)
    pooled = pooled_tokens(task.images, task.quantize.batch, task.device)
    # Prototypes name train images, whatever they were fitted on.
    codebook = learn_part(task, Fold(_LAST, 0, every, every[:0]), pooled, every[: trained.scores.train.images])
    (scores,) = score_source(task.part(every), codebook, (temperature,), task.train.batch)
    problem = task.problem(scores, every)
    heads = len(trained.fitted) // len(task.train.temperatures)
    fits = SOLVERS[task.train.solver](FitTask(task.train, problem, problem, temperature, task.seed, ignore))
    return codebook, wide_head(task.train, list(fits)[trained.place % heads])


def _together(
    task: CrossFitTask,
    config: JointConfig,
    start: tuple[Codebook, Float[Tensor, "c k"]],
    trained: TrainingOutcome,
    on_event: OnEvent,
) -> tuple[Codebook, Float[Tensor, "c k"]]:
    """Codes and head after the chosen epoch of joint training on all images."""
    epochs = joint_epochs(
        views_of(task, torch.arange(task.images.n)),
        *start,
        trained.taken.candidate.temperature,
        config=config,
        class_weights=task.class_weights,
        generator=torch_generator(task.seed, "choice", "last"),
        size=final_size(task.train, trained.place),
    )
    for epoch in track(epochs, "joint training, all images", config.epochs, "epochs", on_event):
        if epoch.number == trained.epoch:
            return epoch.codebook, epoch.weights
    raise ValueError(f"joint training has {config.epochs} epochs, the chosen one is {trained.epoch}")
