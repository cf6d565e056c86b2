"""Mixtures: codes that are directions of convex combinations of a few train patches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from protoquant.codebook.nearest_images import NearestImages, nearest_patches
from protoquant.codebook.patches import read_patches
from protoquant.codebook.tokens import SubsetSource, TokenSource

if TYPE_CHECKING:
    from protoquant.codebook.codebook import Codebook

LEAST = 0.01
"""Weights below this are dropped: a patch of less than a hundredth explains nothing."""


@dataclass(frozen=True)
class Mixture:
    """The train patches that each code is made of: the code is the direction of their weighted mean.

    Attributes:
        images: Position of each patch's image in the source (k, m), all different for a code; -1 where it has fewer.
        cells: Its grid cell, row by row (k, m).
        weights: Weight of each patch (k, m), >= 0; those of a code sum to 1.
        units: The patches as unit vectors in the space of the codes (k, m, d); 0 where there is none.
    """

    images: Int64[Tensor, "k m"]
    cells: Int64[Tensor, "k m"]
    weights: Float[Tensor, "k m"]
    units: Float[Tensor, "k m d"]

    def codes(self, weights: Float[Tensor, "k m"]) -> Float[Tensor, "k d"]:
        """The unit vectors that other weights would give; differentiable by them."""
        return mixed(weights, self.units)

    def weighted(self, weights: Float[Tensor, "k m"]) -> Self:
        """The same patches with other weights; those below ``LEAST`` become 0, and the others sum to 1 again.

        The largest weight of a code always stays.
        """
        largest = weights.amax(dim=1, keepdim=True)
        kept = weights.masked_fill((weights < LEAST) & (weights < largest), 0.0)
        return replace(self, weights=kept / kept.sum(dim=1, keepdim=True))

    def on(self, codes: Int64[Tensor, " r"]) -> Self:
        """The mixtures of some codes, in the given order."""
        images, cells, weights, units = self.images, self.cells, self.weights, self.units
        return type(self)(*(part[codes.to(part.device)] for part in (images, cells, weights, units)))

    def to(self, device: torch.device) -> Self:
        """Copy weights and vectors to a device; positions stay on the CPU."""
        return replace(self, weights=self.weights.to(device), units=self.units.to(device))


def mixed(weights: Float[Tensor, "k m"], units: Float[Tensor, "k m d"]) -> Float[Tensor, "k d"]:
    """Directions of weighted means of unit vectors."""
    return normalize((weights[:, None, :] @ units)[:, 0, :], dim=1)


def with_mixtures(codebook: Codebook, source: TokenSource, *, patches: int, temperature: float, batch: int) -> Codebook:
    """Replace every code by a mixture of the train patches nearest to it, each of another image.

    The images are those of the class that the code was seeded from, or of all classes if seeding ignored classes; a
    class with fewer images gives fewer patches. The weights are a softmax over the patches' cosines with the code.
    With one patch a code becomes that patch.

    Args:
        codebook: Codes where the learner put them, on the device to compute on.
        source: Train tokens.
        patches: Most patches of a code.
        temperature: Temperature of the softmax over cosines, > 0.
        batch: Images per step.

    Returns:
        The codebook of the mixtures; of codes whose patches are all the same only the first is left.
    """
    nearest = _nearest(codebook, source, patches, batch)
    units = read_patches(source, codebook.norm, nearest.images, nearest.cells)
    images = nearest.images.masked_fill(~units.any(dim=2), -1)  # a zero token is no patch
    scaled = (nearest.cosines / temperature).masked_fill(images < 0, -torch.inf)
    weights = torch.softmax(scaled, dim=1).to(codebook.codes)
    mixture = Mixture(images, nearest.cells, weights, units.to(codebook.codes)).weighted(weights)
    made = replace(codebook, codes=mixture.codes(mixture.weights), mixture=mixture)
    first = _first_of_equals(mixture, source.t)
    return made if len(first) == codebook.k else made.only(first)


def _nearest(codebook: Codebook, source: TokenSource, patches: int, batch: int) -> NearestImages:
    """The nearest patches of distinct images of each code, on the CPU."""
    codes, norm, tokens = codebook.codes, codebook.norm, batch * source.t
    if codebook.class_of_code is None:
        return nearest_patches(source, norm, codes, patches, tokens).cpu()
    found = NearestImages.empty(codebook.k, patches, torch.device("cpu"))
    of_code = torch.tensor(codebook.class_of_code)
    for label in torch.unique(of_code):
        rows, images = (of_code == label).nonzero().flatten(), (source.labels == label).nonzero().flatten()
        own = nearest_patches(SubsetSource(source, images), norm, codes[rows.to(codes.device)], patches, tokens).cpu()
        found = found.filled(rows, replace(own, images=torch.where(own.images < 0, -1, images[own.images])))
    return found


def _first_of_equals(mixture: Mixture, t: int) -> Int64[Tensor, " r"]:
    """The codes whose patches no code before them has, too: the others would show the same and nearly be the same."""
    places = (mixture.images * t + mixture.cells).masked_fill(mixture.weights.cpu() == 0.0, -1).sort(dim=1).values
    _, kind = torch.unique(places, dim=0, return_inverse=True)
    first = torch.full((int(kind.max()) + 1,), len(kind)).scatter_reduce(0, kind, torch.arange(len(kind)), "amin")
    return first.sort().values
