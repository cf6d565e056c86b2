"""``protoquant plan``: what params.yaml will need, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from protoquant.core.errors import ProtoQuantError, UsageError
from protoquant.core.log import listening
from protoquant.core.machine.cores import warn_of_threads
from protoquant.core.machine.disk import gigabytes

if TYPE_CHECKING:
    from protoquant.plan.plan import Plan


def plan(  # noqa: PLR0917 - options
    images: Annotated[int | None, typer.Option(min=1, help="Train images, where none are prepared.")] = None,
    validation: Annotated[int | None, typer.Option(min=1, help="Validation images.")] = None,
    test: Annotated[int | None, typer.Option(min=1, help="Test images.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes.")] = None,
    nodes: Annotated[int, typer.Option(min=1, max=10_000, help="Machines like this one.")] = 1,
    processes: Annotated[
        int, typer.Option(min=1, max=1_000, help="Processes of each machine that share the work.")
    ] = 1,
    seconds: Annotated[
        float, typer.Option(min=0, max=3_600, help="How long this machine is measured; 0: sizes alone.")
    ] = 30.0,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what the settings will need: disk, memory, time of each stage; refuse what does not fit."""
    given = (images, validation, test, classes)
    if any(one is not None for one in given) and None in given:
        raise UsageError("give all of --images, --validation, --test and --classes, or none of them")
    if seconds == 0 and nodes * processes > 1:
        raise UsageError("--nodes and --processes change times, which --seconds 0 leaves out; give one or the other")
    from protoquant.core.runtime import Runtime
    from protoquant.core.workspace import Workspace
    from protoquant.plan.plan import plan as work_out
    from protoquant.plan.sizes import DatasetCounts
    from protoquant.settings.roots import image_root
    from protoquant.settings.settings import Settings

    workspace, runtime = Workspace(Path.cwd()), Runtime.from_environment()
    settings = Settings.load(workspace.params)
    console = Console(stderr=True)
    if seconds > 0:
        console.print(f"measuring this machine for about {seconds:g} s", highlight=False)
        with listening(console) as on_event:
            warn_of_threads(settings.threads, on_event)
    counts = None if images is None else DatasetCounts(images, validation or 0, test or 0, classes or 0)
    root = workspace.root
    if counts is None:
        root = image_root(settings.prepare, workspace, runtime.workers, lambda _: None)
    found = work_out(workspace, settings, runtime, root=root, counts=counts, seconds=seconds)
    if as_json:
        shared = {one.stage: one.shared(nodes * processes) for one in found.times}
        typer.echo(json.dumps(found.to_dict() | {"processes": nodes * processes, "shared": shared}, indent=2))
    else:
        _print(found, settings.extract.dtype, nodes, processes)
    if found.missing:
        raise ProtoQuantError("; ".join(found.missing))


def _print(found: Plan, dtype: str, nodes: int, processes: int) -> None:
    console, counts, sizes = Console(), found.counts, found.sizes
    layers = " and ".join(
        f"{layer.grid[0]} x {layer.grid[1]} cells of {layer.d} numbers" for layer in found.shape.layers
    )
    console.print(
        f"{counts.train:,} train, {counts.validation:,} validation, {counts.test:,} test images of {counts.classes:,} "
        f"classes; {layers} in {dtype}; {sizes.k:,} codes",
        highlight=False,
    )
    table = Table("", "size", "what it is", box=SIMPLE)
    table.add_row("features", gigabytes(sizes.store), f"on disk, {sizes.shards:,} shards")
    table.add_row("scores", gigabytes(sizes.scores), "on disk while train runs" if sizes.mapped else "in memory")
    table.add_row("codes, head", f"{gigabytes(sizes.codebook)}, {gigabytes(sizes.head)}", "on disk")
    for stage, size in sizes.memory.items():
        table.add_row(stage, gigabytes(size), "memory of a process, about")
    table.add_row("free", gigabytes(found.machine.disk), "disk")
    table.add_row(
        "free",
        gigabytes(found.machine.memory),
        f"memory; {found.machine.cores} core{'s' if found.machine.cores > 1 else ''}",
    )
    console.print(table)
    if found.rates is None:
        return
    share = nodes * processes
    table = Table("stage", "one process", "at most", f"{nodes} x {processes}", "made of", box=SIMPLE)
    for one in found.times:
        table.add_row(one.stage, _duration(one.usual), _duration(one.most), _duration(one.shared(share)), one.made_of)
    console.print(table)
    console.print(
        f"Measured on {found.rates.photos}. {nodes} x {processes}: machines like this one, each with so many "
        "processes that have its processors or a graphics card to themselves, sharing evenly: the best there can be. "
        "Features are read from memory or from a disk that keeps up.",
        highlight=False,
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
