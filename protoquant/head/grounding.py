"""Grounding: codes become train patches, or means of a few, before the head is fitted for good."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.grounding import NearestPatches, ground
from protoquant.codebook.stream import TokenSource, token_batches
from protoquant.core.errors import DataError
from protoquant.head.choosing import Judge, Offers, choose_patches
from protoquant.head.config import Grounding
from protoquant.head.nearest import Nearest
from protoquant.head.select import Candidate


@dataclass(frozen=True)
class GroundedCodes:
    """Codes that are train patches, or means of some.

    Attributes:
        codebook: The codes, unit vectors.
        images: Position of the image of each patch in the train split (k, m); m = 1 where a code is one patch.
        cells: Its grid cell, row by row (k, m).
        cosines: Similarity of code and patch (k, m); 1 where they are the same.
    """

    codebook: Codebook
    images: Int64[Tensor, "k m"]
    cells: Int64[Tensor, "k m"]
    cosines: Float[Tensor, "k m"]

    @property
    def patches(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images, cells and cosines."""
        return self.images, self.cells, self.cosines


@dataclass(frozen=True)
class Price:
    """What grounding took from the head.

    Attributes:
        class_size: Prototypes per class of the head that was selected before.
        before: Validation accuracy at that size with the codes as learned, in [0, 1].
        after: Likewise with the grounded codes and the head fitted to them.
    """

    class_size: float
    before: float
    after: float

    def sentence(self, method: Grounding) -> str:
        """The price in one line."""
        return (
            f"grounding {method}: validation top-1 {self.before:.4f} before, {self.after:.4f} after, "
            f"at {self.class_size:.1f} prototypes per class"
        )


def ground_codes(
    method: Grounding, patches: int | None, *, source: TokenSource, codebook: Codebook, nearest: Nearest, judge: Judge
) -> GroundedCodes:
    """Tie every code to train patches.

    ``medoid``: each code becomes the train patch nearest to it, no two codes the same one. ``chosen``: a prototype
    becomes the one of its nearest patches with which the present head loses least; the other codes their medoid.
    ``mean``: each code becomes the direction of the mean of its nearest patches, of as many images. ``centroid``
    leaves the codes alone and is no case of this.

    Args:
        method: medoid, chosen or mean.
        patches: How many patches ``chosen`` and ``mean`` look at; None with ``medoid``.
        source: Train tokens.
        codebook: The codes as learned, on the device to compute on.
        nearest: The train images nearest to each code, at least ``patches`` of them.
        judge: Of ``chosen``.

    Returns:
        The new codes with their patches.

    Raises:
        DataError: There are fewer train images than ``patches``, or fewer different patches than codes.
        ValueError: The method is ``centroid``.
    """
    if method == "centroid":
        raise ValueError("grounding centroid changes no code; do not ask for it")
    if patches is not None and bool((nearest.images[:, :patches] < 0).any()):
        raise DataError(f"train.grounding_patches must be <= {source.n} train images, got {patches}; lower it")
    if method == "mean":
        return _means(source, codebook, nearest.images[:, :patches], nearest.cells[:, :patches])
    first = NearestPatches(codebook.codes)
    for tokens in token_batches(source, judge.batch * source.t):
        units = codebook.norm.apply(tokens.to(codebook.codes.device))
        first.add(units, units @ codebook.codes.T)
    found = ground(source, codebook.codes, codebook.norm, first, judge.batch * source.t)
    medoids = replace(codebook, codes=found.units)
    images, cells = found.images[:, None], found.cells[:, None]
    if method == "chosen":
        images = torch.cat([images, nearest.images[:, :patches].cpu()], dim=1)
        cells = torch.cat([cells, nearest.cells[:, :patches].cpu()], dim=1)
        units = read_patches(source, codebook.norm, images, cells).to(found.units)
        taken = choose_patches(medoids, Offers(images * source.t + cells, units), judge)
        medoids = replace(codebook, codes=units[torch.arange(codebook.k), taken])
        images, cells = (part.gather(1, taken[:, None]) for part in (images, cells))
    return GroundedCodes(medoids, images, cells, torch.ones(codebook.k, 1))


def read_patches(
    source: TokenSource, norm: FeatureNorm, images: Int64[Tensor, "k m"], cells: Int64[Tensor, "k m"]
) -> Float[Tensor, "k m d"]:
    """Read patches as unit vectors, each image once.

    Args:
        source: Where they are.
        norm: Map from tokens to unit vectors.
        images: Positions of their images.
        cells: Their grid cells, row by row.
    """
    flat, places = images.flatten(), cells.flatten()
    units = torch.empty(len(flat), source.d)
    order = flat.argsort(stable=True).tolist()
    norm = norm.to(units.device)
    for image, group in groupby(order, key=flat.tolist().__getitem__):
        rows = torch.tensor(list(group))
        units[rows] = norm.apply(source.tokens(torch.tensor([image]))[0, places[rows]])
    return units.reshape(*images.shape, source.d)


def accuracy_at(candidates: Sequence[Candidate], class_size: float) -> float:
    """Validation accuracy of a path at a size, read off between its heads, for the temperature where it is highest.

    Args:
        candidates: All heads of all temperatures; those without a prototype do not count.
        class_size: Prototypes per class, > 0; beyond the path's ends the accuracy of the end holds.
    """
    used = [one for one in candidates if one.nonzeros > 0]
    found = []
    for temperature in {one.temperature for one in used}:
        own = sorted((one.class_size, one.validation_top1) for one in used if one.temperature == temperature)
        sizes, accuracies = zip(*own, strict=True)
        found.append(float(np.interp(np.log(class_size), np.log(sizes), accuracies)))
    return max(found)


def _means(
    source: TokenSource, codebook: Codebook, images: Int64[Tensor, "k m"], cells: Int64[Tensor, "k m"]
) -> GroundedCodes:
    units = read_patches(source, codebook.norm, images.cpu(), cells.cpu()).to(codebook.codes)
    codes = torch.nn.functional.normalize(units.mean(dim=1), dim=1)
    cosines = (units @ codes[:, :, None]).squeeze(2).clamp(-1.0, 1.0)
    return GroundedCodes(replace(codebook, codes=codes), images.cpu(), cells.cpu(), cosines.cpu())
