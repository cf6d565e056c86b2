"""How many stages run at once on this machine: Prefect's limits on the tags of tasks."""

from functools import cache
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from protoquant.core.machine.cores import cores
from protoquant.core.runtime import Runtime

CPU = "protoquant-cpu"
GPU = "protoquant-gpu"


@cache
def slot() -> str:
    """Return the tag of a stage's task: for GPUs if ``PROTOQUANT_DEVICE`` or the machine says so, else for the CPU."""
    device = Runtime.from_environment().device
    return GPU if device.startswith("cuda") or (device == "auto" and gpus()) else CPU


def gpus() -> int:
    """Count the GPUs of this machine without importing torch."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def make_slots(threads: int) -> dict[str, int]:
    """Make the missing limits; a limit that someone has set stays.

    Args:
        threads: CPU threads that a stage uses.

    Returns:
        The limits in force.
    """
    wanted = {CPU: max(1, cores() // threads), GPU: max(1, gpus())}
    with get_client(sync_client=True) as client:
        for tag, limit in wanted.items():
            try:
                wanted[tag] = client.read_concurrency_limit_by_tag(tag).concurrency_limit
            except ObjectNotFound:
                client.create_concurrency_limit(tag, limit)
    return wanted
