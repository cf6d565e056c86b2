"""Runs independent jobs in processes of a Ray cluster; a job whose process or node dies moves to another."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from protoquant.core.errors import ProtoQuantError, UnavailableError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.distributed.cluster import joined

Job = TypeVar("Job")
Result = TypeVar("Result")
_DEATHS = 2  # times that a job is started again after its process died
_PATIENCE = 60.0  # seconds without any result before the nodes are checked


def run_on_ray(
    make: Callable[[], Callable[[Job], Result]],
    jobs: Sequence[Job],
    *,
    processes: int,
    gpus: float,
    on_done: Callable[[Job], None],
    on_event: OnEvent,
) -> list[Result]:
    """Run jobs on processes of the cluster that ``RAY_ADDRESS`` names, or of this machine.

    Args:
        make: Called once in each process; returns the function that does a job. ``make``, jobs and results are sent
            between processes, so they must be small.
        jobs: The jobs, in the order of the results.
        processes: Number of processes; each takes one of Ray's CPUs.
        gpus: GPUs of a process, or a fraction of one.
        on_done: Called with each job that has ended.
        on_event: Receives a message about the processes and nodes in use.

    Returns:
        The result of each job.

    Raises:
        UsageError: The nodes have no room for the processes. UnavailableError: No cluster, or its nodes are gone.
        ProtoQuantError: A job raised it, in its own class; or its process died again and again.
    """
    with joined() as cluster:
        cluster.require_room("PROTOQUANT_PROCESSES", processes, gpus=gpus)
        on_event(MessageEvent(f"{len(jobs)} jobs for {processes} processes on {cluster.named_nodes}"))
        return _Round(make, jobs, gpus, on_done, on_event).run(processes)


class _Process(Generic[Job, Result]):
    """The actor that runs in each Ray process."""

    def __init__(self, make: Callable[[], Callable[[Job], Result]]) -> None:
        self._make = make

    def get_ready(self) -> None:
        """Make the function that does the jobs; not in the constructor, since Ray hides errors raised there."""
        self._work = self._make()

    def do(self, job: Job) -> Result:
        """Do one job."""
        return self._work(job)


class _Round(Generic[Job, Result]):
    """One pass over all jobs; each process gets the next job when it has finished one."""

    def __init__(
        self,
        make: Callable[[], Callable[[Job], Result]],
        jobs: Sequence[Job],
        gpus: float,
        on_done: Callable[[Job], None],
        on_event: OnEvent,
    ) -> None:
        import ray

        self._jobs, self._on_done, self._on_event = jobs, on_done, on_event
        self._actor: Any = ray.remote(num_cpus=1, num_gpus=gpus)(_Process)
        self._make = ray.put(make)
        self._waiting = deque(range(len(jobs)))
        self._running: dict[Any, tuple[Any, int | None]] = {}  # process and index of its job; None: it is starting
        self._deaths: Counter[int | None] = Counter()
        self._results: dict[int, Result] = {}

    def run(self, processes: int) -> list[Result]:
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        for _ in range(processes):
            self._start()
        while len(self._results) < len(self._jobs):
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=_PATIENCE)
            if not ready:
                self._check_alive()
                continue
            process, place = self._running.pop(ready[0])
            try:
                result = ray.get(ready[0])
            except RayTaskError as error:
                _raise(error)
            except RayActorError:
                self._again(place)
                continue
            if place is not None:
                self._results[place] = result
                self._on_done(self._jobs[place])
            if self._waiting:
                following = self._waiting.popleft()
                self._running[process.do.remote(self._jobs[following])] = (process, following)
        return [self._results[place] for place in range(len(self._jobs))]

    def _start(self) -> None:
        process = self._actor.remote(self._make)
        self._running[process.get_ready.remote()] = (process, None)

    def _again(self, place: int | None) -> None:
        self._deaths[place] += 1
        if self._deaths[place] > _DEATHS:
            doing = "when it started" if place is None else f"with job {place + 1} of {len(self._jobs)}"
            raise ProtoQuantError(
                f"a process died {_DEATHS + 1} times {doing}; is there enough memory for PROTOQUANT_PROCESSES? "
                "what is finished is kept"
            )
        if place is not None:
            self._waiting.appendleft(place)
        self._start()

    def _check_alive(self) -> None:
        """If all processes are still starting, check that there are nodes that can start them."""
        import ray

        if any(place is not None for _, place in self._running.values()):
            return
        if not any(node["Alive"] and node["Resources"].get("CPU") for node in ray.nodes()):  # type: ignore[no-untyped-call]
            raise UnavailableError("no node of Ray is left; what is finished is kept, run it again")
        self._on_event(MessageEvent("Ray is busy: its processes have not started yet"))


def _raise(error: Any) -> NoReturn:
    """Raise the job's own error if it is one for the user."""
    if isinstance(error.cause, ProtoQuantError | OSError):
        raise error.cause from None
    raise error
