"""``protoquant drift``: new images against those that a model was made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from protoquant.cli.model.predict import DEFAULT, AsJson, Source, Weights

if TYPE_CHECKING:
    from protoquant.analysis.drift.account import DriftAnalysis

_SHOWN = 12


def drift(
    folder: Annotated[str, typer.Argument(help="New images, however deep: a folder, or s3://bucket/prefix.")],
    *,
    model: Source = DEFAULT,
    weights: Weights = None,
    out: Annotated[Path, typer.Option(help="Folder for drift.json and drift.html.")] = Path("drift"),
    as_json: AsJson = False,
) -> None:
    """Say which parts vanished from new images, which appeared, and which classes that hits."""
    import protoquant
    from protoquant.analysis.drift.drift import KIND, PAGE
    from protoquant.analysis.drift.drift import drift as step
    from protoquant.core.log import listening
    from protoquant.core.result_folder import check_out
    from protoquant.core.runtime import Runtime
    from protoquant.core.workspace import Workspace
    from protoquant.model.folder import find_images
    from protoquant.settings.roots import folder_of

    check_out(out, KIND)
    runtime = Runtime.from_environment()
    with listening(Console(stderr=True)) as on_event:
        root = folder_of(folder, Workspace(Path.cwd()), runtime.workers, on_event)
        names = find_images(root, on_event).names
        found = step(
            protoquant.load(model, weights=weights),
            root=root,
            names=names,
            title=folder.rstrip("/").rpartition("/")[2] or folder,
            out=out,
            workers=runtime.workers,
            on_event=on_event,
        )
    if as_json:
        typer.echo(json.dumps(found.account.to_dict(), indent=2))
        return
    _print(found.account)
    Console().print(f"page: {out / PAGE}", highlight=False, markup=False, soft_wrap=True)


def _print(account: DriftAnalysis) -> None:
    """Print the prototypes that moved most, and the summary sentence."""
    console = Console()
    if account.moved:
        table = Table("prototype", "verdict", "training", "validation", "now", "used by")
        for part in account.moved[:_SHOWN]:
            shares = [f"{100 * share:.1f} %" for share in (part.train, part.validation, part.now)]
            first, *others = (account.names[label] for label in account.users[part.prototype])
            using = f"{first} and {len(others)} more" if others else first
            table.add_row(str(part.prototype), str(part.verdict), *shares, using)
        console.print(table, highlight=False, markup=False)
    if len(account.moved) > _SHOWN:
        console.print(f"and {len(account.moved) - _SHOWN} more on the page", highlight=False)
    console.print(account.sentence(), highlight=False, markup=False, soft_wrap=True)
