"""Works out a plan before anything runs: sizes, times, and whether they fit this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from protoquant.core.errors import ArtifactError, DataError, UsageError
from protoquant.core.machine.cores import cores
from protoquant.core.machine.disk import RESERVE, free_bytes, gigabytes
from protoquant.core.machine.memory import free_memory
from protoquant.core.runtime import Runtime
from protoquant.core.workspace import Workspace
from protoquant.data.splits import SPLITS
from protoquant.data.table import ImageTable
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.decode import Source, sources_of
from protoquant.head.joint_memory import lack_of_memory
from protoquant.plan.calibration import Rates, Sections, calibrate
from protoquant.plan.sizes import PROCESS, DatasetCounts, Shape, Sizes, joint_sizes, sizes_of
from protoquant.plan.times import StageTime, times_of
from protoquant.settings.settings import Settings

_SAMPLE = 512


@dataclass(frozen=True)
class Machine:
    """Free resources of this machine; disk and memory are in bytes.

    Attributes:
        disk: Free on the file system of the workspace.
        memory: Available memory, including the page cache.
        cores: Number of cores that this process may use.
    """

    disk: int
    memory: int
    cores: int


@dataclass(frozen=True)
class Plan:
    """The resources that the pipeline will need.

    Attributes:
        counts: Images and classes.
        shape: Shape of the tokens of an image.
        sizes: Sizes in bytes.
        machine: Free resources.
        missing: One line for each thing that does not fit; empty if everything fits.
        rates: Measured rates; None without a calibration.
        times: Times of each stage; empty without a calibration.
    """

    counts: DatasetCounts
    shape: Shape
    sizes: Sizes
    machine: Machine
    missing: tuple[str, ...]
    rates: Rates | None
    times: tuple[StageTime, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "counts": asdict(self.counts),
            "shape": {
                "grid": list(self.shape.grid),
                "d": self.shape.d,
                "layers": [layer.to_dict() for layer in self.shape.layers],
            },
            "sizes": self.sizes.to_dict(),
            "machine": asdict(self.machine),
            "missing": list(self.missing),
            "rates": None if self.rates is None else self.rates.to_dict(),
            "times": [one.to_dict() for one in self.times],
        }


def plan(
    workspace: Workspace,
    settings: Settings,
    runtime: Runtime,
    *,
    root: Path,
    counts: DatasetCounts | None,
    seconds: float,
) -> Plan:
    """Work out what the stages of params.yaml will need, without writing anything.

    Args:
        workspace: The workspace they would run in.
        settings: All sections.
        runtime: Device, and number of threads that decode.
        root: ``prepare.root``.
        counts: Numbers of images and classes; if None, those of ``artifacts/images``.
        seconds: How long to measure this machine; 0 skips the measurement.

    Raises:
        UsageError: No counts were given and none are prepared.
        ConfigError: The backbone is unknown, or there are more codes than tokens.
    """
    photos: list[Source] = []
    if counts is None:
        counts, photos = _prepared(workspace, root)
    sections = Sections(settings.extract, settings.quantize, settings.train)
    backbone = Backbone.untrained(settings.extract, runtime.torch_device(settings.threads))
    shape = Shape(backbone.shapes)
    sizes = sizes_of(settings.extract, settings.quantize, settings.train, counts, shape)
    machine = _machine(workspace.root)
    rates, times = None, tuple[StageTime, ...]()
    if seconds > 0:
        rates = calibrate(sections, backbone, photos, counts, sizes, seconds=seconds, workers=runtime.workers)
        times = times_of(sections, counts, shape.only(settings.quantize.layers), rates)
    lacks = missing(sizes, machine, held=_held(workspace))
    if lack := _joint_training(settings, counts, shape, sizes, backbone.device):
        lacks = (*lacks, lack)
    return Plan(counts, shape, sizes, machine, lacks, rates, times)


def missing(sizes: Sizes, machine: Machine, *, held: int = 0) -> tuple[str, ...]:
    """List what does not fit, each with a remedy.

    Args:
        sizes: Bytes needed.
        machine: Free resources.
        held: Bytes of features that are on the disk already.
    """
    found = []
    disk = max(sizes.store - held, 0) + (sizes.scores if sizes.mapped else 0) + RESERVE
    if disk > machine.disk:
        found.append(
            f"disk: {gigabytes(disk)} are needed for features and scores, {gigabytes(machine.disk)} are free; "
            f"take another disk, extract.dtype int8, fewer extract.views or fewer train.temperature"
        )
    stage = max(sizes.memory, key=lambda name: sizes.memory[name])
    if sizes.memory[stage] > machine.memory:
        found.append(
            f"memory: {stage} holds about {gigabytes(sizes.memory[stage])}, {gigabytes(machine.memory)} are free; "
            f"take a smaller quantize.size or train.joint.batch, or several machines (PROTOQUANT_PROCESSES)"
        )
    return tuple(found)


def _joint_training(
    settings: Settings, counts: DatasetCounts, shape: Shape, sizes: Sizes, device: torch.device
) -> str | None:
    """Say whether joint training is too large for the device, as train itself does before it starts."""
    train, scores = settings.train, 0 if sizes.mapped else sizes.scores
    if train.joint is None:
        return None
    needs = joint_sizes(train, counts, shape.only(settings.quantize.layers), sizes.k, settings.extract.views)
    if device.type == "cpu":
        return lack_of_memory(train.joint, needs, free_memory(device), held=PROCESS + scores)
    return lack_of_memory(train.joint, replace(needs, heap=False), free_memory(device), held=sizes.scores)


def _prepared(workspace: Workspace, root: Path) -> tuple[DatasetCounts, list[Source]]:
    """Count the images that prepare listed, and pick some of them to measure on."""
    try:
        table = ImageTable.open(workspace.images, root)
        frames = {name: table.split(name) for name in SPLITS}
        sizes = {name: len(frames[name]) for name in SPLITS}
    except ArtifactError as error:
        raise UsageError(
            f"no images are prepared here ({error}); run protoquant prepare, or give --images, --validation, --test "
            "and --classes"
        ) from error
    if sizes["train"] == 0:
        raise DataError("prepare found no train image; correct section prepare")
    photos = sources_of(frames["train"])
    photos = photos[:: max(1, len(photos) // _SAMPLE)][:_SAMPLE]
    return DatasetCounts(**sizes, classes=len(table.classes)), photos


def _held(workspace: Workspace) -> int:
    """Return the bytes of finished shards, which a store shares with its cache if the file system can link."""
    return sum(file.stat().st_size for file in workspace.feature_cache.glob("*/shard.safetensors"))


def _machine(folder: Path) -> Machine:
    return Machine(free_bytes(folder), free_memory(torch.device("cpu")), cores())
