"""How the C library keeps the memory that tensors free."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_MIB = 2**20
_VALUES = {
    -8: 1,  # M_ARENA_MAX: one heap for all threads, since those of the others hold 64 MiB at most
    -3: 256 * _MIB,  # M_MMAP_THRESHOLD: up to this size a piece comes from the heap
    -1: 512 * _MIB,  # M_TRIM_THRESHOLD: so much of the heap may lie free before it is given back
}
"""Parameters of ``mallopt`` by their numbers in glibc's ``malloc.h``."""


def keep_freed_memory() -> None:
    """Let this process keep up to 512 MiB of freed memory for the tensors that come next.

    A forward pass frees what it has taken. By default glibc gives large pieces back to the system each time, and the
    next pass takes them anew, page by page: up to half the time of an extraction on a CPU. No result changes. Nothing
    happens with another C library, or where the environment sets one of glibc's own ``MALLOC_`` variables.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with suppress(OSError, AttributeError, TypeError):  # no glibc
        libc = ctypes.CDLL(None)
        for parameter, value in _VALUES.items():
            libc.mallopt(parameter, value)
