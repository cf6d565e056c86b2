"""Independent, named random streams, all derived from the one ``seed`` of params.yaml."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the seed of a named stream.

    Args:
        seed: The seed of params.yaml, at least 0.
        names: Name of the stream, in parts; other names give an unrelated stream.

    Returns:
        An integer in [0, 2**63).
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Open the named stream as a numpy generator."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, *names))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """Open the named stream as a torch generator on the CPU, so that all devices draw the same numbers."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *names))
