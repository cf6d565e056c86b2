"""Storage formats of patch tokens: floats of 2 or 4 bytes, or integers of 1 byte with a scale per token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

TOKENS, SCALES = "tokens", "scales"
DtypeName = Literal["float16", "bfloat16", "float32", "int8"]
DTYPES: Mapping[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
}
_STEPS = 127  # on each side of zero
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32}


@dataclass(frozen=True)
class ScaledShard:
    """int8 tokens; indexing some images gives them as float32.

    Attributes:
        tokens: Integers in [-127, 127] (n, t, d).
        scales: Factor of each token (n, t), float32.
    """

    tokens: Int8[Tensor, "n t d"]
    scales: Float[Tensor, "n t"]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, images: slice) -> Float[Tensor, "m t d"]:
        # numpy does this in one pass, which takes a fifth of the time of torch's two passes
        scales = self.scales[images].numpy()[..., None]
        return torch.from_numpy(np.multiply(self.tokens[images].numpy(), scales, dtype=np.float32))


Shard = Float[Tensor, "n t d"] | ScaledShard
"""Tokens of consecutive images; a slice of it is a tensor."""


def pack(tokens: Float[Tensor, "n t d"], dtype: str) -> dict[str, Tensor]:
    """Turn tokens into the tensors of a shard file.

    ``int8`` keeps a float32 scale from the largest absolute value of each token, and rounds each value to the nearest
    of 255 steps between plus and minus that value: the error is at most 1 / 254 of it.

    Args:
        tokens: Tokens that are finite and within the range of the dtype.
        dtype: A name in ``DTYPES``.
    """
    if dtype != "int8":
        return {TOKENS: tokens.to(DTYPES[dtype], copy=True)}
    wide = tokens.float()
    scales = wide.abs().amax(dim=-1) / _STEPS
    scales = scales.where(scales >= torch.finfo(torch.float32).tiny, 0.0)  # smaller ones are zero on some processors
    steps = (wide / scales.where(scales > 0, 1.0)[..., None]).round_().clamp_(-_STEPS, _STEPS)
    return {TOKENS: steps.to(torch.int8), SCALES: scales}


def unpack(stored: Mapping[str, Tensor]) -> Shard:
    """Turn the tensors of a shard file into tokens; slices are read only when they are used."""
    return ScaledShard(stored[TOKENS], stored[SCALES]) if SCALES in stored else stored[TOKENS]


def largest(dtype: str) -> float:
    """The largest storable number; for int8, half of float32's maximum, so that no step rounds beyond it."""
    return torch.finfo(torch.float32).max / 2 if dtype == "int8" else torch.finfo(DTYPES[dtype]).max


def token_bytes(dtype: str, d: int) -> int:
    """Bytes of one token of d numbers."""
    return DTYPES[dtype].itemsize * d + (4 if dtype == "int8" else 0)


def copy_rows(source: Tensor, rows: Tensor, target: Tensor, places: Tensor) -> None:
    """Copy rows between tensors of one dtype with numpy, which copies whole rows where torch copies single numbers.

    The tensors are viewed as integers, because numpy has no bfloat16.
    """
    bits = _BITS[source.dtype.itemsize]
    target.view(bits).numpy()[places.numpy()] = source.view(bits).numpy()[rows.numpy()]
