"""Batches of patch tokens whose cut does not depend on how the store is sharded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class TokenSource(Protocol):
    """What quantize needs of a feature store; a plain tensor can play it in memory."""

    @property
    def n(self) -> int:
        """Number of images."""

    @property
    def t(self) -> int:
        """Patch tokens of an image."""

    @property
    def d(self) -> int:
        """Dimension of a token."""

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """Label of every image."""

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
        """Take each row as an image of one token, all of one class."""
        return cls(rows[:, None, :], torch.zeros(len(rows), dtype=torch.int64))

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.values.shape[0])

    @property
    def t(self) -> int:
        """Patch tokens of an image."""
        return int(self.values.shape[1])

    @property
    def d(self) -> int:
        """Dimension of a token."""
        return int(self.values.shape[2])

    def tokens(self, indices: Int64[Tensor, " m"]) -> Float[Tensor, "m t d"]:
        """Read the tokens of some images."""
        return self.values[indices]


def image_batches(
    source: TokenSource, batch: int, generator: torch.Generator | None = None
) -> Iterator[Int64[Tensor, " m"]]:
    """Cut the images into batches.

    Args:
        source: Where the tokens are.
        batch: Tokens of a batch; rounded down to whole images, at least one image.
        generator: Shuffles the images; without it they come in their own order.

    Yields:
        Image indices, every image once.
    """
    order = torch.arange(source.n) if generator is None else torch.randperm(source.n, generator=generator)
    yield from torch.split(order, max(1, batch // source.t))


def token_batches(
    source: TokenSource, batch: int, generator: torch.Generator | None = None
) -> Iterator[Float[Tensor, "b d"]]:
    """Stream all tokens, flat.

    Args:
        source: Where the tokens are.
        batch: Tokens of a batch; rounded down to whole images, at least one image.
        generator: Shuffles the images; without it they come in their own order.

    Yields:
        Tokens as they are stored; row ``i * t + j`` of a batch is cell j of its i-th image.
    """
    for indices in image_batches(source, batch, generator):
        yield source.tokens(indices).reshape(-1, source.d)


def sample_tokens(
    source: TokenSource, images: Int64[Tensor, " m"], count: int, generator: torch.Generator
) -> Float[Tensor, "s d"]:
    """Draw tokens without replacement, reading only the images they lie in.

    Args:
        source: Where the tokens are.
        images: Images to draw from.
        count: Tokens wanted; all of them where there are no more.
        generator: Decides the draw.

    Returns:
        Tokens ordered by image and cell, as they are stored.
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
