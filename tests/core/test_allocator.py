"""Counted in processes of their own: what a pass has freed is there for the next one."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from protoquant.core.runtime import Runtime

Runtime(device="cpu").torch_device()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [torch.ones(size * 2**18) for size in (3, 40, 100)]  # MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
print(first, sum(faults() for _ in range(5)))
"""


def faults(**environment: str) -> tuple[int, int]:
    """New pages of a first pass, and of five more."""
    call = [sys.executable, "-c", FAULTS]
    done = subprocess.run(call, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    first, later = map(int, done.stdout.split())
    return first, later


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_what_a_pass_has_freed_serves_the_next() -> None:
    first, later = faults()
    assert later < first / 10
    first, later = faults(MALLOC_ARENA_MAX="2")  # the user's own choice stands
    assert later > first
