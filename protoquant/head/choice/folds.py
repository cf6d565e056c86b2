"""Stratified folds of labelled images, drawn from the seed, and the inner split of a fold's training part."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from protoquant.core.errors import ConfigError
from protoquant.core.seeding import torch_generator

INNER_SHARE = 0.2
"""Share of each class of a training part, at least one image, on which the probe's penalty is chosen."""


@dataclass(frozen=True)
class Fold:
    """One fold of one repeat.

    Attributes:
        repeat: Number of the repeat, from 0.
        number: Number of the fold in its repeat, from 0.
        fitting: Positions of the images that everything is fitted on, ascending (m).
        held: Positions of the images that are held out, ascending (h); over the folds of a repeat, every image once.
    """

    repeat: int
    number: int
    fitting: Int64[Tensor, " m"]
    held: Int64[Tensor, " h"]


def check_folds(labels: Int64[Tensor, " n"], folds: int, names: tuple[str, ...]) -> None:
    """Refuse folds that would leave a class without a held-out image, or with fewer than two to fit on.

    Args:
        labels: Label of every image.
        folds: Number of folds, at least 2.
        names: Class names, index = label.

    Raises:
        ConfigError: A class has too few images.
    """
    counts = labels.bincount(minlength=len(names))
    label = int(counts.argmin())
    least, needed = int(counts[label]), max(folds, 4 if folds == 2 else 3)
    if least < needed:
        possible = f"lower train.choice.folds to {least}, " if 3 <= least < folds else ""
        raise ConfigError(
            f"train.choice needs at least {needed} images of each class in train and validation for {folds} folds, "
            f"class {names[label]!r} has {least} (params.yaml); {possible}add images, or set train.choice to null"
        )


def stratified_folds(labels: Int64[Tensor, " n"], folds: int, repeats: int, seed: int) -> list[Fold]:
    """Deal the images of each class into folds, anew in each repeat.

    Each class starts where the class before it ended, so that folds differ by at most one image, and a class's share
    of each fold too.

    Args:
        labels: Label of every image.
        folds: Number of folds, at least 2.
        repeats: Number of repeats, at least 1.
        seed: The seed of params.yaml.

    Returns:
        The folds of the first repeat, then those of the next.
    """
    found = []
    for repeat in range(repeats):
        generator = torch_generator(seed, "choice", "folds", repeat)
        shuffled = torch.randperm(len(labels), generator=generator)
        order = shuffled[torch.sort(labels[shuffled], stable=True).indices]
        fold_of = torch.empty_like(labels)
        fold_of[order] = torch.arange(len(labels)) % folds
        for number in range(folds):
            held = fold_of == number
            found.append(Fold(repeat, number, (~held).nonzero().flatten(), held.nonzero().flatten()))
    return found


def inner_split(
    labels: Int64[Tensor, " n"], generator: torch.Generator
) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " h"]]:
    """Split images once, by class, into those to fit on and those to choose a penalty on.

    Args:
        labels: Label of every image; every class has at least two.
        generator: Decides the draw.

    Returns:
        Positions to fit on and positions to choose on, each ascending.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    order = shuffled[torch.sort(labels[shuffled], stable=True).indices]
    counts = labels.bincount()
    first = (counts.cumsum(0) - counts)[labels[order]]
    most = (INNER_SHARE * counts).round().long().clamp_min(1)[labels[order]]
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[order] = torch.arange(len(labels)) - first < most
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()
