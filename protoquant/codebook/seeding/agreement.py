"""Agreement: which of a class's codes stand for patches that look alike, and not like those of other classes."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.codebook.tokens import TokenSource, image_batches
from protoquant.features.tokens import PatchTokens

IMAGES = 10
"""Images of the class whose patches must agree; as many as purity looks at."""
OTHERS = 128
"""Images of other classes that a class's codes are compared with."""


def other_images(labels: Int64[Tensor, " n"], label: int) -> Int64[Tensor, " r"]:
    """Positions of at most ``OTHERS`` images of other classes, spread evenly over them."""
    others = torch.nonzero(labels != label).flatten()
    places = torch.linspace(0, len(others) - 1, min(OTHERS, len(others)), dtype=torch.float64)
    return others[places.round().long()]


def agreeing(
    codes: Float[Tensor, "k d"],
    images: TokenSource,
    others: TokenSource,
    norm: FeatureNorm | LayerSpace,
    *,
    keep: int,
    batch: int,
) -> Int64[Tensor, " r"]:
    """Find the codes of a class that are near to patches of the class, and nearer than to those of other classes.

    A code between patches that differ, of which one is a part and another what lies behind it, is far from all of them.
    A code of a branch is near to patches of every class and tells none apart. Other classes are compared by the
    earliest layer alone, whose cells see little beyond themselves: later layers tell even the sky beside a beak apart.

    Args:
        codes: The codes of the class, of any length, on the device to compute on.
        images: Train images of the class.
        others: Train images of other classes, or none.
        norm: Map from tokens to the space of the codes.
        keep: Number of codes to keep.
        batch: Tokens per step.

    Returns:
        The codes with the least sum of two ranks, in their order; the lower code wins ties. The first rank is by
        nearness, the mean cosine with the nearest patch of each of the ``IMAGES`` images nearest to the code (of all,
        if the class has fewer); the second by how far that, in the earliest layer, lies above the nearness to the same
        share of the others.
    """
    if keep >= len(codes):
        return torch.arange(len(codes))
    units, count = torch.nn.functional.normalize(codes, dim=1), min(IMAGES, images.n)
    near, own = _nearness(images, (norm.cosines, norm.earliest), units, count, batch)
    ranks = _ranks(near)
    if others.n:
        alike = max(1, round(others.n * count / images.n))
        (theirs,) = _nearness(others, (norm.earliest,), units, alike, batch)
        ranks = ranks + _ranks(own - theirs)
    return ranks.argsort(stable=True)[:keep].sort().values


def _nearness(
    images: TokenSource,
    compares: Sequence[Callable[[PatchTokens, Tensor], Float[Tensor, "n _t k"]]],
    units: Float[Tensor, "k d"],
    count: int,
    batch: int,
) -> list[Float[Tensor, " k"]]:
    """Mean cosine with the nearest patch of each of the nearest images, for each way to compare."""
    best: list[list[Float[Tensor, "b k"]]] = [[] for _ in compares]
    for some in image_batches(images, batch):
        tokens = images.tokens(some).to(units.device)
        for found, compare in zip(best, compares, strict=True):
            found.append(compare(tokens, units).amax(dim=1))
    return [torch.cat(found).topk(count, dim=0).values.double().mean(dim=0).cpu() for found in best]


def _ranks(values: Float[Tensor, " k"]) -> Int64[Tensor, " k"]:
    """Places from the largest value to the smallest; the first of equals comes first."""
    return values.argsort(descending=True, stable=True).argsort()
