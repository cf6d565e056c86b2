"""Several processes that work together by gloo, on this machine."""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed, multiprocessing


def in_ranks(world: int, work: Callable[[], Any]) -> list[Any]:
    """What each of some processes gives; tensors, numbers and their containers alone."""
    with tempfile.TemporaryDirectory() as folder:
        # forked, not spawned: torch would be loaded again
        multiprocessing.start_processes(_run, (world, work, folder), nprocs=world, start_method="fork")
        return [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(world)]


def _run(rank: int, world: int, work: Callable[[], Any], folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(work(), f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
