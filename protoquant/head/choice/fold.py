"""Refits probe, codes and heads on one fold's training part, and lets the heads answer for the images held out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.joined_source import JoinedSource
from protoquant.codebook.learning import learn_codebook
from protoquant.codebook.probe import LinearProbe, best_probe, fit_probe
from protoquant.codebook.seeding.size import resolve_size
from protoquant.codebook.tokens import SubsetSource, TokenSource
from protoquant.core.events import ignore
from protoquant.core.seeding import derive_seed, torch_generator
from protoquant.features.tokens import maps_of
from protoquant.head.choice.folds import Fold, inner_split
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import TrainConfig
from protoquant.head.inputs import MAPPED
from protoquant.head.kind_of_codes import of_kind
from protoquant.head.narrowing import wide_head
from protoquant.head.solvers.problem import Problem
from protoquant.head.solvers.registry import SOLVERS, FitTask
from protoquant.model.scored_split import score_source


@dataclass(frozen=True)
class CrossFitTask:
    """What every fold is fitted from.

    Attributes:
        train: The section of train.
        quantize: The section that quantize ran with.
        images: The plain images of train, then those of validation.
        views: Augmented views of the train images.
        classes: Number of classes c.
        class_weights: Weights of the images of each class; None: all count the same, and top-1 compares heads.
        seed: The seed of params.yaml.
        device: Device to compute on.
        room: Folder for memory-mapped scores; None to keep them in memory.
        on_object: Whether seeding may look at each cell of the train images; None: at all.
    """

    train: TrainConfig
    quantize: QuantizeConfig
    images: TokenSource
    views: tuple[TokenSource, ...]
    classes: int
    class_weights: ClassWeights | None
    seed: int
    device: torch.device
    room: Path | None = None
    on_object: Bool[Tensor, "n t"] | None = None

    @cached_property
    def labels(self) -> Int64[Tensor, " n"]:
        """Label of every image."""
        return self.images.labels

    @property
    def at_once(self) -> int:
        """Folds that may be fitted side by side: one on a GPU, else as many as hold scores of at most ``MAPPED``."""
        if self.device.type != "cpu" or self.room is not None:
            return 1
        k = resolve_size(self.quantize, self.labels, self.images.t).k
        return max(1, MAPPED // (4 * self.images.n * k * len(self.train.temperatures)))

    def problem(self, scores: Float[Tensor, "m k"], images: Int64[Tensor, " m"]) -> Problem:
        """What a head is fitted to for the scores of some images."""
        labels = self.labels[images].to(self.device)
        weights = None if self.class_weights is None else self.class_weights.of_images(labels)
        return Problem(scores, labels, self.classes, weights=weights)

    def part(self, images: Int64[Tensor, " m"]) -> SubsetSource:
        """Some of the plain images."""
        return SubsetSource(self.images, images)

    def looked_at(self, images: Int64[Tensor, " m"]) -> Bool[Tensor, "m t"] | None:
        """Whether seeding may look at each cell of some plain images: at all of those of validation; None: at all."""
        if self.on_object is None:
            return None
        of_train = images < len(self.on_object)
        found = torch.ones(len(images), self.images.t, dtype=torch.bool)
        found[of_train] = self.on_object[images[of_train]]
        return found

    def viewed(self, images: Int64[Tensor, " m"]) -> TokenSource:
        """Some of the images and, of those of train, the augmented views too."""
        plain = self.part(images)
        views = [SubsetSource(view, images[images < view.n]) for view in self.views]
        return JoinedSource((plain, *views)) if views else plain


@dataclass(frozen=True)
class HeldOut:
    """A fold's answers; everything is on the CPU.

    Attributes:
        logits: Logits of every candidate for the images held out (m, h, c).
        sizes: Non-zero weights per class of every candidate (m).
        codebook: The codes; None unless asked for.
        starts: The head (c, k) with which joint training of every candidate would start, sparse in memory; empty unless
            asked for.
    """

    logits: Float[Tensor, "m h c"]
    sizes: Float[Tensor, " m"]
    codebook: Codebook | None = None
    starts: tuple[Tensor, ...] = ()


def answer_fold(task: CrossFitTask, fold: Fold, pooled: Float[Tensor, "n d"], *, keep: bool) -> HeldOut:
    """Fit everything on a fold's training part, and answer for its held-out images.

    Labels of held-out images are not read.

    Args:
        task: Images and sections.
        fold: The fold.
        pooled: Mean of each image's patch tokens, on the device.
        keep: Whether codes and heads are returned too.

    Raises:
        DataError: No code tells any class apart, or a token holds NaN or infinity.
    """
    codebook = learn_part(task, fold, pooled)
    logits, sizes, starts = [], [], []
    with _scores(task, fold, codebook) as (fitting, held):
        for temperature, scores, held_out in zip(task.train.temperatures, fitting, held, strict=True):
            problem = task.problem(scores, fold.fitting)
            fits = SOLVERS[task.train.solver](FitTask(task.train, problem, problem, temperature, task.seed, ignore))
            for fit in fits:
                logits.append((held_out @ fit.last.weights.T).cpu())
                sizes.append((fit.last.weights > 0).sum().cpu() / task.classes)
                if keep:
                    starts.append(wide_head(task.train, fit).to_sparse().cpu())
    kept = codebook.to(torch.device("cpu")) if keep else None
    return HeldOut(torch.stack(logits), torch.stack(sizes), kept, tuple(starts))


def learn_part(
    task: CrossFitTask, fold: Fold, pooled: Float[Tensor, "n d"], patches: Int64[Tensor, " p"] | None = None
) -> Codebook:
    """Learn the codes of a fold's training part, by a probe of that part; they are on the device.

    Args:
        task: Images and sections.
        fold: The fold.
        pooled: Mean of each image's patch tokens, on the device.
        patches: Images that mixtures may take patches of; None: those of the training part.
    """
    labels, part = task.labels[fold.fitting], task.part(fold.fitting)
    probe = _probe(task, fold, pooled[fold.fitting], labels)
    learned = learn_codebook(
        task.quantize,
        part,
        resolve_size(task.quantize, labels, part.t),
        probe,
        seen=task.viewed(fold.fitting),
        seed=derive_seed(task.seed, "choice", fold.repeat, fold.number),
        on_event=ignore,
        on_object=task.looked_at(fold.fitting),
    )
    source = part if patches is None else task.part(patches)
    return of_kind(task.train, learned.codebook.to(task.device), source)


def _probe(task: CrossFitTask, fold: Fold, pooled: Float[Tensor, "m d"], labels: Int64[Tensor, " m"]) -> LinearProbe:
    """The probe of a training part; an inner split of the part chooses its penalty, and its layers as quantize does."""
    config, there = task.quantize, labels.to(pooled.device)
    penalties, iterations = config.probe_penalties, config.probe_iterations
    last = maps_of(task.images.tokens(torch.zeros(1, dtype=torch.int64)))[-1].shape[-1]
    if len(penalties) > 1 or pooled.shape[1] > last:
        generator = torch_generator(task.seed, "choice", "probe", fold.repeat, fold.number)
        fitting, choosing = (rows.to(pooled.device) for rows in inner_split(labels, generator))
        parts = pooled[fitting], there[fitting], pooled[choosing], there[choosing]
        tried = best_probe(*parts, last=last, penalties=penalties, iterations=iterations)
        penalties, pooled = (tried.penalty,), pooled[:, -len(tried.probe.mean) :]
    return fit_probe(pooled, there, pooled, there, penalties=penalties, iterations=iterations).probe


@contextmanager
def _scores(
    task: CrossFitTask, fold: Fold, codebook: Codebook
) -> Iterator[tuple[tuple[Float[Tensor, "m k"], ...], tuple[Float[Tensor, "h k"], ...]]]:
    """Presence scores of the training part and of the images held out, in memory or in files that go afterwards."""
    temperatures, batch = task.train.temperatures, task.train.batch
    parts = {"fitting": task.part(fold.fitting), "held": task.part(fold.held)}
    if task.room is None:
        fitting, held = (score_source(part, codebook, temperatures, batch) for part in parts.values())
        yield fitting, held
        return
    with TemporaryDirectory(dir=task.room, prefix="fold-") as place:
        rooms = {name: Path(place) / name for name in parts}
        for room in rooms.values():
            room.mkdir()
        fitting, held = (score_source(part, codebook, temperatures, batch, rooms[name]) for name, part in parts.items())
        yield fitting, held
