"""Steps for processes of Ray Train, in a module that they can import."""

import os
import signal
from pathlib import Path

import torch

from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.distributed.ranks import rank, sum_over_ranks, world


def step(folder: Path, doing: str, *, device: torch.device, on_event: OnEvent) -> tuple[int, float]:
    """Say who takes part; the second process dies once, or fails while the first waits for it."""
    if doing == "die once" and rank() == 1 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if doing == "break":
        raise RuntimeError("a defect of ours, or no memory on the device")
    if doing == "fail" and rank() == 1:
        raise DataError("a token holds NaN")
    total = float(sum_over_ranks(torch.tensor(rank() + 1.0, device=device)))
    for number in range(50):
        on_event(MessageEvent(f"{number}"))
    return world(), total
