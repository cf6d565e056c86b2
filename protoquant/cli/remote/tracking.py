"""``protoquant tracking``: what MLflow was not there to take."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from protoquant.core.errors import ProtoQuantError
from protoquant.core.log import listening
from protoquant.core.workspace import Workspace

app = typer.Typer(help="Models that are kept because MLflow did not answer.", no_args_is_help=True)


@app.command("list")
def show(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the kept models, the oldest first."""
    from protoquant.tracking.runs.pending import pending

    found = pending(Workspace(Path.cwd()))
    if as_json:
        rows = [
            {
                "name": each.name,
                "bundle": each.bundle,
                "kept": None if each.damage else each.at.isoformat(),
                "for": each.place,
                "path": str(each.path),
                "damage": each.damage,
            }
            for each in found
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("model", "bundle", "kept", "for")
    for each in found:
        kept = "damaged" if each.damage else f"{each.at:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row(each.name, each.bundle[:12], kept, each.place)
    Console().print(table, highlight=False, markup=False)


@app.command()
def sync(
    *,
    redirect: Annotated[
        bool, typer.Option("--redirect", help="Send also what was kept for another server to this one.")
    ] = False,
) -> None:
    """Send the kept models to MLflow, each exactly once; what cannot be sent stays."""
    from protoquant.tracking.runs.sync import sync as send

    with listening(Console(stderr=True)) as on_event:
        result = send(Workspace(Path.cwd()), redirect=redirect, on_event=on_event)
    done, left = len(result.sent), len(result.left)
    Console().print(f"{done} sent, {left} still kept", highlight=False)
    if left:
        raise ProtoQuantError("\n".join(result.left))
