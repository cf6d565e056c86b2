"""Sources of patch tokens, and batches of them that do not depend on how the store is sharded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int16, Int64
from torch import Tensor

from protoquant.distributed.ranks import own, own_images, world
from protoquant.features.tokens import PatchTokens

_DRAWN = 4_096  # images whose cells are drawn at once


class TokenSource(Protocol):
    """The part of a feature store that quantize needs; :class:`TensorSource` implements it in memory."""

    @property
    def n(self) -> int:
        """Number of images."""

    @property
    def t(self) -> int:
        """Number of patch tokens in an image."""

    @property
    def d(self) -> int:
        """Dimension of a token."""

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """Label of every image."""

    def tokens(self, indices: Int64[Tensor, " m"]) -> PatchTokens:
        """Read the tokens of some images."""


class FlatSource(TokenSource, Protocol):
    """A source whose tokens are one tensor: those of one layer of the backbone, or vectors of the codes' space."""

    def tokens(self, indices: Int64[Tensor, " m"]) -> Float[Tensor, "m t d"]:
        """Read the tokens of some images."""


@dataclass(frozen=True)
class TensorSource:
    """A token source in memory.

    Attributes:
        values: Patch tokens (n, t, d).
        labels: Label of every image (n).
    """

    values: Float[Tensor, "n t d"]
    labels: Int64[Tensor, " n"]

    @classmethod
    def of_rows(cls, rows: Float[Tensor, "n d"]) -> "TensorSource":
        """Treat each row as an image of one token, all of one class."""
        return cls(rows[:, None, :], torch.zeros(len(rows), dtype=torch.int64))

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.values.shape[0])

    @property
    def t(self) -> int:
        """Number of patch tokens in an image."""
        return int(self.values.shape[1])

    @property
    def d(self) -> int:
        """Dimension of a token."""
        return int(self.values.shape[2])

    def tokens(self, indices: Int64[Tensor, " m"]) -> Float[Tensor, "m t d"]:
        """Read the tokens of some images; those of images in a row are not copied."""
        first = int(indices[0]) if len(indices) else 0
        if first >= 0 and torch.equal(indices, torch.arange(first, first + len(indices), device=indices.device)):
            return self.values[first : first + len(indices)]
        return self.values[indices]


@dataclass(frozen=True)
class SubsetSource:
    """Some images of a source, as a source.

    Attributes:
        whole: The whole source.
        images: Positions of the images (n).
    """

    whole: TokenSource
    images: Int64[Tensor, " n"]

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def t(self) -> int:
        """Number of patch tokens in an image."""
        return self.whole.t

    @property
    def d(self) -> int:
        """Dimension of a token."""
        return self.whole.d

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """Label of every image."""
        return self.whole.labels[self.images]

    def tokens(self, indices: Int64[Tensor, " m"]) -> PatchTokens:
        """Read the tokens of some images."""
        return self.whole.tokens(self.images[indices])


@dataclass(frozen=True)
class Sampled:
    """The images of a source with a sample of the cells of each, drawn once.

    Attributes:
        whole: The source of all tokens.
        cells: Sampled cells of each image, ascending (n, s).
    """

    whole: FlatSource
    cells: Int16[Tensor, "n s"]

    @classmethod
    def draw(cls, whole: FlatSource, count: int, generator: torch.Generator) -> "Sampled":
        """Draw cells of every image without replacement.

        Args:
            whole: The source of all tokens.
            count: Number of cells to draw from each image, at most t.
            generator: Decides the draw, which does not depend on batches.
        """
        some = (
            torch.rand(len(images), whole.t, generator=generator).topk(count, dim=1).indices.sort(dim=1).values
            for images in torch.split(torch.arange(whole.n), _DRAWN)
        )
        return cls(whole, torch.cat([cells.to(torch.int16) for cells in some]))

    @property
    def n(self) -> int:
        """Number of images."""
        return self.whole.n

    @property
    def t(self) -> int:
        """Number of sampled patch tokens in an image."""
        return int(self.cells.shape[1])

    @property
    def d(self) -> int:
        """Dimension of a token."""
        return self.whole.d

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """Label of every image."""
        return self.whole.labels

    def tokens(self, indices: Int64[Tensor, " m"]) -> Float[Tensor, "m s d"]:
        """Read the drawn tokens of some images."""
        tokens, cells = self.whole.tokens(indices), self.cells[indices].long()
        return tokens.gather(1, cells[..., None].expand(-1, -1, tokens.shape[2]))


def own_part(source: TokenSource) -> TokenSource:
    """The part of the images that this process handles: a contiguous range of them.

    Raises:
        UsageError: There are fewer images than processes.
    """
    return source if world() == 1 else SubsetSource(source, torch.arange(source.n)[own_images(source.n)])


def image_batches(
    source: TokenSource, batch: int, generator: torch.Generator | None = None
) -> Iterator[Int64[Tensor, " m"]]:
    """Cut the images into batches.

    Args:
        source: Source of the tokens.
        batch: Tokens of a batch; rounded down to whole images, at least one image.
        generator: Shuffles the images; None keeps their order.

    Yields:
        Image indices, every image once.
    """
    order = torch.arange(source.n) if generator is None else torch.randperm(source.n, generator=generator)
    yield from torch.split(order, max(1, batch // source.t))


def token_batches(
    source: FlatSource, batch: int, generator: torch.Generator | None = None
) -> Iterator[Float[Tensor, "b d"]]:
    """Stream all tokens, flat.

    Args:
        source: Source of the tokens.
        batch: Tokens of a batch; rounded down to whole images, at least one image.
        generator: Shuffles the images; None keeps their order.

    Yields:
        Tokens in the stored dtype; row ``i * t + j`` of a batch is cell j of its i-th image.
    """
    for indices in image_batches(source, batch, generator):
        yield source.tokens(indices).reshape(-1, source.d)


def own_token_batches(
    source: FlatSource, batch: int, generator: torch.Generator | None = None
) -> Iterator[Float[Tensor, "b d"]]:
    """Stream this process's share of each batch of ``token_batches``; it may be empty if the batch is small."""
    for indices in image_batches(source, batch, generator):
        yield source.tokens(indices[own(len(indices))]).reshape(-1, source.d)


def sample_tokens(
    source: FlatSource, images: Int64[Tensor, " m"], count: int, generator: torch.Generator
) -> Float[Tensor, "s d"]:
    """Draw tokens without replacement, reading only the images they lie in.

    Args:
        source: Source of the tokens.
        images: Images to draw from.
        count: Number of tokens to draw; all are taken if there are no more than that.
        generator: Decides the draw.

    Returns:
        Tokens ordered by image and cell, in the stored dtype.
    """
    total = len(images) * source.t
    flat = torch.randperm(total, generator=generator)[:count].sort().values if count < total else torch.arange(total)
    rows, cells = flat // source.t, flat % source.t
    parts = []
    for wanted, amount in zip(*torch.unique_consecutive(rows, return_counts=True), strict=True):
        chosen = cells[: int(amount)]
        cells = cells[int(amount) :]
        parts.append(source.tokens(images[wanted : wanted + 1])[0, chosen])
    return torch.cat(parts)
