"""``protoquant runs``: the folders of isolated runs, and their cleaning."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(help="Look at and clean the workspaces of isolated runs.", no_args_is_help=True)


@app.command("list")
def list_runs(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
) -> None:
    """Show the workspaces that are there: of runs on their way, and of runs that can be continued."""
    from protoquant.pipeline.retention import kept_runs

    runs = kept_runs(Path.cwd())
    if as_json:
        rows = [{"name": run.name, "folder": str(run.folder), "age": run.age, "in_use": run.in_use} for run in runs]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("run", "unused for", "in use")
    for run in runs:
        table.add_row(run.name, str(timedelta(seconds=round(run.age))), "yes" if run.in_use else "")
    Console().print(table, highlight=False, markup=False)


@app.command()
def prune(
    *,
    older_than: Annotated[float, typer.Option(min=0, help="Days since the last use.")] = 7.0,
    keep: Annotated[int, typer.Option(min=0, help="Most workspaces that stay.")] = 20,
) -> None:
    """Remove the workspaces of old runs; never one that is in use. Experiments, models and DVC's cache stay."""
    from protoquant.pipeline.retention import prune_runs

    removed = prune_runs(Path.cwd(), max_age=older_than * 86_400, keep=keep)
    names = f": {', '.join(run.name for run in removed)}" if removed else ""
    Console().print(f"removed {len(removed)}{names}", highlight=False, markup=False)
