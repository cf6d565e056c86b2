"""Collects all shards of an extraction in this machine's cache, computed here or by other processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from protoquant.core.errors import UnavailableError, UsageError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.features.store.shards import Layers, ShardJob, ShardWorker


def gather(
    worker: ShardWorker,
    jobs: Sequence[ShardJob],
    processes: int,
    on_images: Callable[[int], None],
    on_event: OnEvent,
) -> list[Layers]:
    """Do all jobs in this process, or let other processes do those that are in no cache.

    Args:
        worker: Does the jobs of this process.
        jobs: Jobs in the order of the result.
        processes: Number of processes; more than 1 run on Ray.
        on_images: Receives the number of images in each shard that another process finishes.
        on_event: Receives progress.

    Returns:
        The shard of each job; its files are on this machine.

    Raises:
        DataError: An image changed since prepare, or a value does not fit the dtype.
        UsageError: Other machines keep their shards where this one cannot see them, and there is no shared cache.
        UnavailableError: Ray is unavailable, or the shared cache is while another machine has a shard.
    """
    missing = [job for job in jobs if not worker.is_cached(job)]
    done: dict[int, Layers] = {}
    if processes > 1 and len(missing) > 1:
        found = [(job, worker.find(job)) for job in missing]
        done = {id(job): shard for job, shard in found if shard is not None}
        missing = [job for job, shard in found if shard is None]
    if processes > 1 and len(missing) > 1:
        done |= _by_others(worker, missing, processes, on_images, on_event)
    return [done.get(id(job)) or worker(job) for job in jobs]


def publish_rest(worker: ShardWorker, jobs: Sequence[ShardJob], shards: Sequence[Layers], on_event: OnEvent) -> None:
    """Retry the uploads that failed before, and report how many shards the shared cache still lacks.

    Args:
        worker: The worker of this machine.
        jobs: All jobs.
        shards: Their shards, in the same order.
        on_event: Receives the count.
    """
    left = [job for job, layers in zip(jobs, shards, strict=True) if any(one.unshared for one in layers)]
    while left and not worker.publish(left[0]):
        left.pop(0)
    if left:
        text = f"{len(left)} of {len(jobs)} shards could not be uploaded; protoquant extract tries it again"
        on_event(MessageEvent(f"shared feature cache: {text}", "warning"))


def _by_others(
    worker: ShardWorker, jobs: Sequence[ShardJob], processes: int, on_images: Callable[[int], None], on_event: OnEvent
) -> dict[int, Layers]:
    from protoquant.distributed.executor import run_on_ray

    found = run_on_ray(
        worker.again,
        jobs,
        processes=min(processes, len(jobs)),
        gpus=1.0 if worker.backbone.device.type == "cuda" else 0.0,
        on_done=lambda job: on_images(len(job.sources)),
        on_event=on_event,
    )
    return {id(job): _here(worker, job, shard) for job, shard in zip(jobs, found, strict=True)}


def _here(worker: ShardWorker, job: ShardJob, shards: Layers) -> Layers:
    """Locate or fetch a shard that another process has finished, perhaps on another machine."""
    unshared = next((shard.unshared for shard in shards if shard.unshared), "")
    if unshared and worker.shared is not None:
        worker.shared.tell(unshared)
    if worker.is_cached(job):
        return worker.here(job, shards)
    if worker.shared is None:
        raise UsageError(
            f"another machine keeps its shards in a folder {worker.cache.root} that this one does not see; let all "
            "machines see one such folder, or set PROTOQUANT_FEATURE_CACHE=s3://bucket/prefix"
        )
    brought = worker.find(job, needed=True)
    if brought is None:
        reason = worker.shared.trouble or unshared or "it was removed there"
        raise UnavailableError(
            f"another machine has a shard that the shared feature cache does not give ({reason}); run extract again "
            "when it does, what is finished is kept"
        )
    return tuple(replace(here, computed=there.computed) for here, there in zip(brought, shards, strict=True))
