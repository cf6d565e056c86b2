"""One verb for each stage of dvc.yaml. They take no options: every number is in params.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from protoquant.cli.heavy_imports import importing
from protoquant.core.errors import UsageError
from protoquant.core.events import OnEvent
from protoquant.core.log import listening
from protoquant.core.machine.cores import warn_of_threads
from protoquant.core.workspace import Workspace
from protoquant.settings.roots import image_root, named_by_uri
from protoquant.storage.location import Location

if TYPE_CHECKING:
    import torch

    from protoquant.core.runtime import Runtime
    from protoquant.distributed.device_step import DeviceStep, Result_co
    from protoquant.features.store.shared_cache import OpenObjects
    from protoquant.settings.settings import Settings


@dataclass(frozen=True)
class _Run:
    """The inputs of every stage verb: validated settings, paths, machine, listener."""

    settings: Settings
    workspace: Workspace
    runtime: Runtime
    on_event: OnEvent

    def image_root(self, *, renew: bool = False) -> Path:
        """Return the folder or file of the images; for images in S3, the local copy.

        Args:
            renew: Whether to ask S3 for changes; otherwise a complete local copy is used as it is.
        """
        return image_root(self.settings.prepare, self.workspace, self.runtime.workers, self.on_event, renew=renew)

    def file(self, name: str | None) -> Path | None:
        """Return the path of a file that params.yaml names."""
        return None if name is None else self.workspace.root / name

    def together(self, step: DeviceStep[Result_co]) -> Result_co:
        """Run a step in as many processes as the environment asks for."""
        from protoquant.distributed.device_step import do_together

        self._warn_of_threads()
        artifacts = self.workspace.codebook.parent
        return do_together(step, self.runtime, self.settings.threads, folder=artifacts, on_event=self.on_event)

    def device(self) -> torch.device:
        self._warn_of_threads()
        return self.runtime.torch_device(self.settings.threads)

    def _warn_of_threads(self) -> None:
        if self.runtime.processes == 1:  # otherwise the threads are those of Ray's nodes
            warn_of_threads(self.settings.threads, self.on_event)

    def shared_cache(self) -> OpenObjects | None:
        """Return a function that opens the S3 folder of shared shards; None if no such folder is named."""
        if self.runtime.feature_cache is None:
            return None
        location = Location.parse(self.runtime.feature_cache, "PROTOQUANT_FEATURE_CACHE")
        try:
            from protoquant.storage.objects import ObjectFolder
        except ModuleNotFoundError as error:
            raise UsageError(
                "PROTOQUANT_FEATURE_CACHE needs boto3: pip install 'protoquant[storage]', or unset it"
            ) from error
        return partial(ObjectFolder.open, location, self.runtime.workers)


@contextmanager
def running() -> Iterator[_Run]:
    """Read all of params.yaml in the current folder before any work, and listen to the step."""
    from protoquant.core.runtime import Runtime
    from protoquant.settings.settings import Settings

    workspace = Workspace(Path.cwd())
    settings = Settings.load(workspace.params)
    runtime = Runtime.from_environment()
    with listening(Console(stderr=True)) as on_event, named_by_uri(settings.prepare, workspace):
        yield _Run(settings, workspace, runtime, on_event)


def code() -> None:
    """Read which code each stage runs, so that a change of it reruns the stages that it reaches."""
    from protoquant.pipeline.code import write_code
    from protoquant.pipeline.named_files import file_digests
    from protoquant.settings.settings import read_params

    workspace = Workspace(Path.cwd())
    named = file_digests(read_params(workspace.params), workspace.root)
    with listening(Console(stderr=True)) as on_event:
        write_code(workspace.code, on_event, named)


def prepare() -> None:
    """Check every image once and settle the splits."""
    with running() as run:
        with importing():
            from protoquant.data.prepare import prepare as step

        step(
            run.settings.prepare,
            root=run.image_root(renew=True),
            out=run.workspace.images,
            parts=run.workspace.parts,
            seed=run.settings.seed,
            exclude=run.file(run.settings.prepare.exclude),
            workers=run.runtime.workers,
            on_event=run.on_event,
        )


def extract() -> None:
    """Run the frozen backbone once and store its patch features."""
    with running() as run:
        shared = run.shared_cache()
        with importing():
            from protoquant.features.extract import extract as step

        step(
            run.settings.extract,
            images=run.workspace.images,
            root=run.image_root(),
            out=run.workspace.features,
            cache=run.workspace.feature_cache,
            device=run.device(),
            seed=run.settings.seed,
            workers=run.runtime.workers,
            on_event=run.on_event,
            processes=run.runtime.processes,
            shared=shared,
        )


def quantize() -> None:
    """Learn the codebook, and the linear probe beside it."""
    with running() as run:
        with importing():
            from protoquant.codebook.quantize import quantize as step

        run.together(
            partial(
                step,
                run.settings.quantize,
                features=run.workspace.features,
                parts=run.workspace.parts,
                out=run.workspace.codebook,
                seed=run.settings.seed,
            )
        )


def train() -> None:
    """Fit the sparse non-negative head and write the bundle."""
    with running() as run:
        with importing():
            from protoquant.head.train import train as step
            from protoquant.prune.apply import prune_trained

        run.together(
            partial(
                step,
                run.settings.train,
                images=run.workspace.images,
                root=run.image_root().absolute(),
                features=run.workspace.features,
                codebook=run.workspace.codebook,
                out=run.workspace.bundle,
                seed=run.settings.seed,
                prune=prune_trained,
            )
        )


def evaluate() -> None:
    """Measure the bundle on the test split, once, changing nothing."""
    with running() as run:
        with importing():
            from protoquant.evaluation.evaluate import evaluate as step

        step(
            run.settings.evaluate,
            images=run.workspace.images,
            root=run.image_root(),
            parts=run.workspace.parts,
            features=run.workspace.features,
            codebook=run.workspace.codebook,
            bundle=run.workspace.bundle,
            out=run.workspace.evaluation,
            metrics=run.workspace.metrics,
            device=run.device(),
            seed=run.settings.seed,
            on_event=run.on_event,
        )


def visualize() -> None:
    """Draw the report: one HTML file that opens from disk."""
    with running() as run:
        with importing():
            from protoquant.explain.visualize import visualize as step

        step(
            run.settings.visualize,
            images=run.workspace.images,
            root=run.image_root(),
            features=run.workspace.features,
            bundle=run.workspace.bundle,
            evaluation=run.workspace.evaluation,
            out=run.workspace.report,
            on_event=run.on_event,
        )


def register() -> None:
    """Log the run and register the model in MLflow, once for each bundle."""
    with running() as run:
        from protoquant.settings.settings import read_params

        with importing():
            from protoquant.tracking.register import register as step

        step(
            run.settings.register_,
            workspace=run.workspace,
            params=read_params(run.workspace.params),
            on_event=run.on_event,
        )


VERBS: tuple[Callable[[], None], ...] = (code, prepare, extract, quantize, train, evaluate, visualize, register)
