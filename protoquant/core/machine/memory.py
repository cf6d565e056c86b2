"""Makes the C library keep memory that tensors free."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_MIB = 2**20
_VALUES = {
    -8: 1,  # M_ARENA_MAX: one heap for all threads, since further heaps hold 64 MiB at most
    -3: 256 * _MIB,  # M_MMAP_THRESHOLD: blocks up to this size come from the heap
    -1: 512 * _MIB,  # M_TRIM_THRESHOLD: this much of the heap may be free before it is given back
}
"""Parameters of ``mallopt`` by their numbers in glibc's ``malloc.h``."""


def keep_freed_memory() -> None:
    """Let this process keep up to 512 MiB of freed memory for the tensors that come next.

    A forward pass frees the memory it has allocated. By default glibc returns large blocks to the system each time, and
    the next pass allocates them again, page by page: up to half the time of an extraction on a CPU. No result changes.
    The call does nothing with another C library, or if the environment sets one of glibc's ``MALLOC_`` variables.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with suppress(OSError, AttributeError, TypeError):  # not glibc
        libc = ctypes.CDLL(None)
        for parameter, value in _VALUES.items():
            libc.mallopt(parameter, value)
