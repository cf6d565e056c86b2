"""Runs a step in several processes, each with its share of the images, by Ray Train and torch.distributed."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from protoquant.core.errors import ProtoQuantError, UnavailableError
from protoquant.core.events import MessageEvent, OnEvent, ignore
from protoquant.core.runtime import Runtime
from protoquant.distributed.cluster import joined

if TYPE_CHECKING:
    import torch

Result_co = TypeVar("Result_co", covariant=True)
_ATTEMPTS = 3
_LINE = 300  # characters of a foreign error that are passed on
_VARIABLE = "PROTOQUANT_PROCESSES"


class DeviceStep(Protocol[Result_co]):
    """A step with all its arguments but the device and the listener."""

    def __call__(self, *, device: torch.device, on_event: OnEvent) -> Result_co:
        """Run the step on a device and report its progress."""


def do_together(
    step: DeviceStep[Result_co], runtime: Runtime, threads: int, *, folder: Path, on_event: OnEvent
) -> Result_co:
    """Run a step in this process, or in as many Ray processes as ``PROTOQUANT_PROCESSES`` says.

    The processes run on the cluster at ``RAY_ADDRESS``, or on this machine. They exchange sums by gloo, or on GPUs by
    nccl, with one GPU each. If one dies, all of them begin the step again.

    Args:
        step: The step; it must share its work as in ``distributed/ranks.py``, and only its first process may write.
        runtime: Device and number of processes.
        threads: CPU threads of each process.
        folder: A folder on a disk that all processes see; holds Ray Train's files while they run.
        on_event: Receives the progress of the first process.

    Returns:
        The result of the first process.

    Raises:
        UsageError: The nodes have no room for the processes. UnavailableError: There is no cluster at the address.
        ProtoQuantError: A process raised it, in its own class; or processes died again and again.
    """
    device = runtime.torch_device(threads)
    if runtime.processes == 1:
        return step(device=device, on_event=on_event)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".ray-train-") as notes:
        group = _Group(step, device.type, threads, runtime.processes, Path(notes).absolute(), on_event)
        result: Result_co = group.run()
    return result


@dataclass(frozen=True)
class _Group:
    """The processes of one step."""

    step: DeviceStep[Any]
    device: str
    threads: int
    processes: int
    notes: Path
    on_event: OnEvent

    def run(self) -> Any:
        death = ""
        for attempt in range(1, _ATTEMPTS + 1):
            outcome = self._attempt()
            if outcome.error is not None:
                raise outcome.error
            if not (death := outcome.death):
                return outcome.result
            if attempt < _ATTEMPTS:
                self.on_event(MessageEvent("a process died; all begin this step again", "warning"))
        raise ProtoQuantError(
            f"a process died {_ATTEMPTS} times in a row; is there enough memory for {_VARIABLE}={self.processes}? "
            f"The last error: {death}"
        )

    def _attempt(self) -> _Outcome:
        """Run all processes to their end.

        Each attempt joins the cluster anew, since leaving it frees what an earlier attempt has reserved.
        """
        gpus = 1.0 if self.device == "cuda" else 0.0
        with joined() as cluster:
            cluster.require_room(_VARIABLE, self.processes, gpus=gpus)
            self.on_event(MessageEvent(f"{self.processes} processes on {cluster.named_nodes}"))
            return self._train()

    def _train(self) -> _Outcome:
        from ray.train import ControllerError, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import FailureConfig
        from ray.train.v2.api.exceptions import TrainingFailedError
        from ray.util.queue import Queue

        queue: Any = Queue(actor_options={"num_cpus": 0})
        listener = _EventReceiver(queue, self.on_event)
        cuda = self.device == "cuda"
        given = {"step": self.step, "device": self.device, "threads": self.threads, "queue": queue}
        failures = FailureConfig(max_failures=0, controller_failure_limit=0)  # ``run`` makes the attempts
        trainer = TorchTrainer(
            _work,
            train_loop_config=given,
            torch_config=TorchConfig(backend="nccl" if cuda else "gloo"),
            scaling_config=ScalingConfig(num_workers=self.processes, use_gpu=cuda, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(storage_path=str(self.notes), failure_config=failures),
        )
        death = "no process gave a result"
        listener.start()
        try:
            trainer.fit()
        except ControllerError as error:
            if "startup timed out" in str(error):
                raise UnavailableError(f"Ray has not started {self.processes} processes; its nodes are busy") from error
            death = _last_line(error)
        except TrainingFailedError as error:
            death = _last_line(next(iter(getattr(error, "worker_failures", {}).values()), error))
        finally:
            listener.stop()
            queue.shutdown()
        return listener.outcome or _Outcome(death=death)


@dataclass(frozen=True)
class _Outcome:
    """The end of a step: the result of the first process, the error that any raised, or how one died."""

    result: Any = None
    error: BaseException | None = None
    death: str = ""


def _last_line(error: BaseException) -> str:
    """The line of a traceback that names the error."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:_LINE] if lines else type(error).__name__


class _EventReceiver(threading.Thread):
    """Passes on the events of the first process and keeps the outcome; an error takes precedence over a result."""

    def __init__(self, queue: Any, on_event: OnEvent) -> None:
        super().__init__(daemon=True)
        self._queue, self._on_event = queue, on_event
        self._over = threading.Event()
        self.outcome: _Outcome | None = None

    def run(self) -> None:
        from ray.util.queue import Empty

        while True:
            over = self._over.is_set()  # read first, so that everything put before the end is still taken
            try:
                told = self._queue.get(timeout=0.2)
            except Empty:
                if over:
                    return
                continue
            if not isinstance(told, _Outcome):
                self._on_event(told)
            elif self.outcome is None or self.outcome.error is None:
                self.outcome = told

    def stop(self) -> None:
        """Take the remaining events, then end."""
        self._over.set()
        self.join()


def _work(config: dict[str, Any]) -> None:
    """The function that each process runs."""
    from ray.train import get_context
    from ray.train.torch import get_device

    queue, first = config["queue"], get_context().get_world_rank() == 0
    device = Runtime(device=config["device"]).torch_device(config["threads"])
    if device.type == "cuda":
        device = get_device()

    try:
        result = config["step"](device=device, on_event=queue.put if first else ignore)
    except (ProtoQuantError, OSError) as error:
        queue.put(_Outcome(error=error))
        raise
    if first:
        queue.put(_Outcome(result))
