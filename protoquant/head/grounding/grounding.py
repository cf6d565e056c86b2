"""Grounding: replaces codes by train patches, or by means of a few, before the final fit of the head."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.grounding import NearestPatches, foreign, ground
from protoquant.codebook.nearest_images import NearestImages
from protoquant.codebook.patches import read_patches
from protoquant.codebook.probe import top1
from protoquant.codebook.space.source import in_space
from protoquant.codebook.tokens import TokenSource, image_batches
from protoquant.core.errors import DataError
from protoquant.head.candidates import Fitted
from protoquant.head.config import Grounding
from protoquant.head.grounding.patch_choice import Judge, Offers, choose_patches
from protoquant.head.select import HeadCandidate
from protoquant.model.head import head_logits
from protoquant.model.scored_split import ScoredSplit


@dataclass(frozen=True)
class GroundedCodes:
    """Codes that are train patches, or means of some.

    Attributes:
        codebook: The codes, unit vectors.
        images: Position of the image of each patch in the train split (k, m); m = 1 if a code is a single patch.
        cells: Grid cell of each patch, row by row (k, m).
        cosines: Cosine of code and patch (k, m); 1 if they are the same.
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
    """The cost of grounding in validation accuracy.

    Attributes:
        class_size: Prototypes per class of the head that was selected before grounding.
        before: Validation accuracy at that size with the codes as learned, in [0, 1].
        after: Validation accuracy at that size with the grounded codes and the head fitted to them.
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
    method: Grounding, patches: int | None, *, source: TokenSource, codebook: Codebook, judge: Judge
) -> GroundedCodes:
    """Tie every code to train patches; codes seeded from classes are tied to patches of their own class.

    ``medoid``: each code becomes the train patch nearest to it, and no two codes share a patch. ``chosen``: a
    prototype becomes the one of its nearest patches that gives the present head the lowest loss; other codes become
    their medoid. The images that decide must not measure afterwards: after hundreds of choices the result on them is
    too optimistic. ``mean``: each code becomes the direction of the mean of its nearest patches, each from a different
    image. ``centroid`` leaves the codes as they are and is not handled here.

    Args:
        method: medoid, chosen or mean.
        patches: Number of patches, from different images, that ``chosen`` and ``mean`` consider; None with ``medoid``.
        source: Train tokens.
        codebook: The codes as learned, on the device to compute on.
        judge: Judge of the patches for ``chosen``; its batch size is used by all methods.

    Returns:
        The new codes with their patches.

    Raises:
        DataError: There are fewer train images than ``patches``, or fewer distinct patches than codes; for codes
            seeded from classes, within a class.
        ValueError: The method is ``centroid``.
    """
    if method == "centroid":
        raise ValueError("grounding centroid changes no code; do not ask for it")
    of_code = codebook.class_of_code
    classes = None if of_code is None else torch.tensor(of_code, device=codebook.codes.device)
    first, nearest = _look(source, codebook, classes, patches or 1, judge.batch)
    images, cells = nearest.images.cpu(), nearest.cells.cpu()
    if bool((images < 0).any()):
        raise DataError(
            f"train.grounding_patches must be at most the train images {'' if classes is None else 'of a class '}"
            f"there are, got {patches} (params.yaml); lower it"
        )
    if method == "mean":
        units = read_patches(source, codebook.norm, images, cells).to(codebook.codes)
        codes = torch.nn.functional.normalize(units.mean(dim=1), dim=1)
        cosines = (units @ codes[:, :, None]).squeeze(2).clamp(-1.0, 1.0)
        return GroundedCodes(replace(codebook, codes=codes), images, cells, cosines.cpu())
    found = ground(
        *in_space(source, codebook.norm), codebook.codes, first, judge.batch * source.t, class_of_code=classes
    )
    codes, own = found.units, (found.images[:, None], found.cells[:, None])
    if method == "chosen":
        images, cells = torch.cat([own[0], images], dim=1), torch.cat([own[1], cells], dim=1)
        offers = Offers(images * source.t + cells, read_patches(source, codebook.norm, images, cells).to(codes))
        taken = choose_patches(replace(codebook, codes=codes), offers, judge)[:, None]
        codes = offers.units[torch.arange(codebook.k), taken[:, 0]]
        own = (images.gather(1, taken), cells.gather(1, taken))
    return GroundedCodes(replace(codebook, codes=codes), *own, torch.ones(codebook.k, 1))


def _look(
    source: TokenSource, codebook: Codebook, classes: Int64[Tensor, " k"] | None, patches: int, batch: int
) -> tuple[NearestPatches, NearestImages]:
    """Find the nearest patches and the nearest images of each code in one pass over the train tokens."""
    first = NearestPatches(codebook.codes)
    nearest = NearestImages.empty(codebook.k, patches, codebook.codes.device)
    for images in image_batches(source, batch * source.t):
        units = codebook.norm.units(source.tokens(images).to(codebook.codes.device)).flatten(0, 1)
        similarities = (units @ codebook.codes.T).clamp_(-1.0, 1.0)
        if classes is not None:
            similarities = similarities.masked_fill(foreign(source, images, classes), -torch.inf)
        first.add(units, similarities)
        nearest = nearest.with_images(similarities.reshape(len(images), source.t, codebook.k), int(images[0]))
    return first, nearest


def price_of(
    fitted: Sequence[Fitted],
    class_size: float,
    after: Sequence[Fitted],
    validation: ScoredSplit,
    temperatures: Sequence[float],
) -> Price:
    """Compare two paths at one size, on the same images.

    Args:
        fitted: Heads for the codes as learned, from ``fit_candidates``.
        class_size: Prototypes per class at which to compare.
        after: Heads for the grounded codes, already measured on the same images.
        validation: Presences of the codes as learned, in the images to measure on.
        temperatures: Temperatures of those presences.
    """
    scores = dict(zip(temperatures, validation.scores, strict=True))
    before = []
    for one in fitted:
        logits = head_logits(scores[one.candidate.temperature], one.weights.to_dense())
        before.append(replace(one.candidate, validation_top1=top1(logits, validation.labels)))
    return Price(class_size, accuracy_at(before, class_size), accuracy_at([one.candidate for one in after], class_size))


def accuracy_at(candidates: Sequence[HeadCandidate], class_size: float) -> float:
    """Validation accuracy of a path at a size, interpolated between its heads, at the best temperature.

    Args:
        candidates: All heads of all temperatures; heads without a prototype are ignored.
        class_size: Prototypes per class, > 0; beyond the ends of the path, the accuracy at the end is used.
    """
    used = [one for one in candidates if one.nonzeros > 0]
    found = []
    for temperature in {one.temperature for one in used}:
        own = sorted((one.class_size, one.validation_top1) for one in used if one.temperature == temperature)
        sizes, accuracies = zip(*own, strict=True)
        found.append(float(np.interp(np.log(class_size), np.log(sizes), accuracies)))
    return max(found)
