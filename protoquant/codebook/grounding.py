"""Grounding: assigns each code a train patch of its own."""

from copy import copy
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import FlatSource, TokenSource, image_batches
from protoquant.core.errors import DataError
from protoquant.distributed.ranks import gather_over_ranks

_NEAREST = 16
_ALIKE = 1e-6


@dataclass(frozen=True)
class Grounding:
    """One train patch for each code.

    Attributes:
        images: Position of the image in the store (k).
        cells: Cell of its grid, row * w + column (k).
        cosines: Cosine of code and patch (k) in [-1, 1].
        units: The patches as unit vectors in the feature space of the codes (k, d).
    """

    images: Int64[Tensor, " k"]
    cells: Int64[Tensor, " k"]
    cosines: Float[Tensor, " k"]
    units: Float[Tensor, "k d"]


class NearestPatches:
    """Keeps the nearest patches of every code while tokens are streamed, in memory for k * 16 numbers.

    Args:
        codes: Unit codes.
        taken: Patches that are no longer available, ascending.
        first: Position of the first token to be added.
    """

    def __init__(
        self, codes: Float[Tensor, "k d"], taken: Int64[Tensor, " m"] | None = None, *, first: int = 0
    ) -> None:
        self._taken = torch.empty(0, dtype=torch.int64) if taken is None else taken
        self._seen = first
        self.cosines = codes.new_empty(len(codes), 0)
        self.patches = torch.empty(len(codes), 0, dtype=torch.int64, device=codes.device)

    def add(self, units: Float[Tensor, "b d"], similarities: Float[Tensor, "b k"]) -> None:
        """Add the next tokens, in the order of the store.

        Args:
            units: Unit tokens; a zero token never becomes a code's patch.
            similarities: Their cosine with every code.
        """
        b = len(units)
        hidden = ~units.any(dim=1)
        inside = self._taken[(self._taken >= self._seen) & (self._taken < self._seen + b)] - self._seen
        hidden[inside.to(hidden.device)] = True
        offered = similarities.masked_fill(hidden[:, None], -torch.inf)
        best, rows = offered.topk(min(_NEAREST, b), dim=0)
        cosines = torch.cat([self.cosines, best.T], dim=1)
        patches = torch.cat([self.patches, rows.T + self._seen], dim=1)
        order = torch.argsort(cosines, dim=1, descending=True, stable=True)[:, :_NEAREST]
        self.cosines, self.patches = cosines.gather(1, order), patches.gather(1, order)
        self._seen += b

    def over_ranks(self) -> Self:
        """Merge the nearest patches of all processes, each of which has seen a contiguous range of the tokens."""
        every = gather_over_ranks((self.cosines.cpu(), self.patches.cpu()))
        whole, device = copy(self), self.cosines.device
        cosines, patches = (torch.cat(parts, dim=1).to(device) for parts in zip(*every, strict=True))
        order = torch.argsort(cosines, dim=1, descending=True, stable=True)[:, :_NEAREST]
        whole.cosines, whole.patches = cosines.gather(1, order), patches.gather(1, order)
        return whole


def ground(
    source: FlatSource,
    norm: FeatureNorm,
    codes: Float[Tensor, "k d"],
    first_pass: NearestPatches,
    batch: int,
    *,
    class_of_code: Int64[Tensor, " k"] | None = None,
) -> Grounding:
    """Assign every code its nearest train patch, and each patch to at most one code.

    The pair with the highest cosine is settled first. A code whose nearest patch is taken, or equals a taken one
    (a duplicate image), gets its next nearest, so two codes never show the same patch.

    Args:
        source: Train tokens.
        norm: Map from tokens to unit vectors.
        codes: Unit codes.
        first_pass: The nearest patches of all codes, from a pass that is already made.
        batch: Tokens per step of the further passes, which are made only if 16 patches do not suffice.
        class_of_code: The class whose images a code's patch must come from; None for any image.

    Returns:
        A patch for each code.

    Raises:
        DataError: There are fewer distinct patches than codes, overall or in a class.
    """
    k = len(codes)
    settled = _Settlement(source, norm, codes)
    refused: set[int] = set()
    rows, found = torch.arange(k), first_pass
    while True:
        looked_at = settled.add(rows, found)
        refused |= looked_at
        rows = torch.nonzero(settled.patches < 0).flatten()
        if len(rows) == 0:
            return settled.grounding()
        if not looked_at:
            raise DataError(
                f"{k} codes need {k} different train patches, found {k - len(rows)}; lower quantize.size (params.yaml)"
            )
        waiting = codes[rows.to(codes.device)]
        found = NearestPatches(waiting, torch.tensor(sorted(refused)))
        for images in image_batches(source, batch):
            units = norm.units(source.tokens(images).reshape(-1, source.d).to(codes.device))
            similarities = units @ waiting.T
            if class_of_code is not None:
                other = foreign(source, images, class_of_code[rows].to(codes.device))
                similarities = similarities.masked_fill(other, -torch.inf)
            found.add(units, similarities)


def foreign(
    source: TokenSource, images: Int64[Tensor, " n"], class_of_code: Int64[Tensor, " k"]
) -> Bool[Tensor, "b k"]:
    """Whether a patch belongs to another class than a code, for all patches of some images, flattened.

    Args:
        source: Source of the images.
        images: Positions of the images.
        class_of_code: Class of each code, on the device of the result.
    """
    labels = source.labels[images].to(class_of_code.device).repeat_interleave(source.t)
    return labels[:, None] != class_of_code


class _Settlement:
    """The patches assigned so far."""

    def __init__(self, source: FlatSource, norm: FeatureNorm, codes: Float[Tensor, "k d"]) -> None:
        self._source, self._norm = source, norm
        self.patches = torch.full((len(codes),), -1)
        self._cosines = torch.zeros(len(codes))
        self._units = torch.zeros_like(codes)

    def add(self, rows: Int64[Tensor, " m"], found: NearestPatches) -> set[int]:
        """Settle pairs from the highest cosine down.

        Args:
            rows: Code of each row of ``found``; none of them has a patch yet.
            found: Their nearest patches.

        Returns:
            The patches considered; each is now a code's patch or equal to one.
        """
        kept = found.cosines.shape[1]
        order = torch.argsort(found.cosines.flatten(), descending=True, stable=True).tolist()
        cosines, patches = found.cosines.flatten().tolist(), found.patches.flatten().tolist()
        gone: set[int] = set()
        for pair in order:
            code, patch = int(rows[pair // kept]), patches[pair]
            if self.patches[code] >= 0 or patch in gone or cosines[pair] == -torch.inf:
                continue
            gone.add(patch)
            unit = self._read(patch)
            if float((self._units @ unit).max()) <= 1.0 - _ALIKE:
                self.patches[code], self._cosines[code], self._units[code] = patch, cosines[pair], unit
        return gone

    def grounding(self) -> Grounding:
        """The result, once every code has its patch."""
        images, cells = self.patches // self._source.t, self.patches % self._source.t
        return Grounding(images, cells, self._cosines.clamp(-1.0, 1.0), self._units)

    def _read(self, patch: int) -> Float[Tensor, " d"]:
        image = self._source.tokens(torch.tensor([patch // self._source.t]))[0]
        return self._norm.units(image[patch % self._source.t].to(self._units.device))
