"""Free memory, and memory that tensors free and the C library keeps."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

_MIB = 2**20
HEAP = 256 * _MIB
"""Bytes of the largest blocks that come from the heap."""
_VALUES = {
    -8: 1,  # M_ARENA_MAX: one heap for all threads, since further heaps hold 64 MiB at most
    -3: HEAP,  # M_MMAP_THRESHOLD: larger blocks are the system's own
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


def free_memory(device: torch.device) -> int:
    """Bytes that are free for tensors on a device: those of a graphics card, or else those of the machine.

    The machine's include its page cache. Limits of containers are not seen.
    """
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
