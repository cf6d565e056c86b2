"""``protoquant assess``: a model on another data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from protoquant.cli.model.predict import DEFAULT, AsJson, Source, Weights
from protoquant.data.readers.registry import ReaderName, layouts


def assess(
    root: Annotated[str, typer.Argument(help="The data set: a folder, s3://bucket/prefix, or a spec of partbirds.")],
    *,
    model: Source = DEFAULT,
    weights: Weights = None,
    reader: Annotated[ReaderName, typer.Option(help=f"How the images lie: {layouts()}.")] = "image_folder",
    split: Annotated[Literal["all", "train", "validation", "test"], typer.Option(help="What is measured.")] = "all",
    out: Annotated[Path, typer.Option(help="Folder for numbers, answers and confusions.")] = Path("assessment"),
    as_json: AsJson = False,
) -> None:
    """Measure a model on labelled images: accuracy with its interval, calibration, confusions."""
    import protoquant
    from protoquant.analysis.assess import assess as step
    from protoquant.core.log import listening
    from protoquant.core.runtime import Runtime
    from protoquant.core.workspace import Workspace
    from protoquant.data.config import PrepareConfig
    from protoquant.evaluation.config import EvaluateConfig
    from protoquant.settings.roots import check_root, image_root

    workspace = Workspace(Path.cwd())
    data = PrepareConfig.parse({"reader": reader, "root": root}, source="the command line")
    check_root(data, workspace)
    runtime = Runtime.from_environment()
    with listening(Console(stderr=True)) as on_event:
        found = step(
            protoquant.load(model, weights=weights),
            data=data,
            root=image_root(data, workspace, runtime.workers, on_event, renew=True),
            split=split,
            out=out,
            config=EvaluateConfig(),
            seed=0,
            workers=runtime.workers,
            on_event=on_event,
        )
    if as_json:
        typer.echo(json.dumps(found.numbers, indent=2))
