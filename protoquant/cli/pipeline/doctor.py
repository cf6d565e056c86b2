"""``protoquant doctor``: what is wrong with a data set, before any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from protoquant.data.readers.registry import ReaderName, layouts

if TYPE_CHECKING:
    from protoquant.core.workspace import Workspace
    from protoquant.data.config import PrepareConfig
    from protoquant.doctor.diagnosis import Diagnosis


def doctor(
    root: Annotated[str, typer.Argument(help="The data set: a folder, s3://bucket/prefix, or a spec of partbirds.")],
    *,
    reader: Annotated[
        ReaderName | None,
        typer.Option(
            help=f"How the images lie: {layouts()}. By default as params.yaml says if ROOT is its prepare.root, else "
            "image_folder."
        ),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Output of extract; with it, labels of train images are doubted too.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for doctor.html, doctor.json and suspects.csv.")] = Path("doctor"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for copies, leaks, shortcuts, odd images and doubtful labels; changes and excludes nothing."""
    from protoquant.core.log import listening
    from protoquant.core.result_folder import check_out
    from protoquant.core.runtime import Runtime
    from protoquant.core.workspace import Workspace
    from protoquant.doctor.doctor import KIND, PAGE
    from protoquant.doctor.doctor import doctor as step
    from protoquant.settings.roots import check_root, image_root

    workspace = Workspace(Path.cwd())
    config, seed = _section(workspace, root, reader)
    check_root(config, workspace)
    check_out(out, KIND)
    runtime = Runtime.from_environment()
    with listening(Console(stderr=True)) as on_event:
        found = step(
            config,
            root=image_root(config, workspace, runtime.workers, on_event, renew=True),
            title=root.rstrip("/").rpartition("/")[2] or root,
            features=features,
            out=out,
            seed=seed,
            workers=runtime.workers,
            on_event=on_event,
            exclude=None if config.exclude is None else workspace.root / config.exclude,
        )
    if as_json:
        typer.echo(json.dumps(found.diagnosis.to_dict(), indent=2))
        return
    _print(found.diagnosis)
    Console().print(f"page: {out / PAGE}", highlight=False, markup=False, soft_wrap=True)


def _section(workspace: Workspace, root: str, reader: str | None) -> tuple[PrepareConfig, int]:
    """The ``prepare`` section and the seed: those of params.yaml if it is about this root, else the defaults."""
    from protoquant.data.config import PrepareConfig
    from protoquant.settings.settings import Settings

    if reader is None and workspace.params.is_file():
        settings = Settings.load(workspace.params)
        if settings.prepare.root.rstrip("/") == root.rstrip("/"):
            return settings.prepare, settings.seed
    values = {"reader": reader or "image_folder", "root": root}
    return PrepareConfig.parse(values, source="the command line"), 0


def _print(diagnosis: Diagnosis) -> None:
    """Print each kind with its count and first finding, the notes, and the summary sentence."""
    console = Console()
    if diagnosis.findings:
        table = Table(Column("finding", no_wrap=True), "severity", "count", "first of them")
        for kind, findings in diagnosis.by_kind.items():
            facts = findings[0].facts
            table.add_row(str(kind), str(facts.severity), f"{len(findings):,}", findings[0].sentence)
        console.print(table, highlight=False, markup=False)
    for line in (*diagnosis.notes, diagnosis.sentence()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
