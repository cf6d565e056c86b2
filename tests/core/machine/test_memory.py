"""Counted in processes of their own: what a pass has freed is there for the next one."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

FAULTS = """
import resource
import torch
from protoquant.core.runtime import Runtime

Runtime(device="cpu").torch_device()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [torch.ones(size * 2**18) for size in (3, 40, 100)]  # MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for _ in range(3):
    faults()
print(sum(faults() for _ in range(10)))
"""


def faults(**environment: str) -> int:
    """New pages of ten passes, after the first three."""
    call = [sys.executable, "-c", FAULTS]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(call, env={**plain, **environment}, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_what_a_pass_has_freed_serves_the_next() -> None:
    left_to_the_user = faults(MALLOC_ARENA_MAX="2")
    assert faults() < left_to_the_user / 4
