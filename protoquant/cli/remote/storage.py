"""``protoquant storage`` and ``protoquant publish``: buckets, and reports that others can open."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from protoquant.core.workspace import Workspace

app = typer.Typer(help="The S3 store; boto3's own settings say where it is.", no_args_is_help=True)

MIB = 2.0**20


@app.callback()
def storage() -> None:
    """The S3 store; boto3's own settings (AWS_ENDPOINT_URL, AWS_PROFILE ...) say where it is."""


@app.command()
def init(
    buckets: Annotated[list[str], typer.Argument(help="Names, or s3://NAME.", show_default=False)],
    *,
    abort_after: Annotated[int, typer.Option(min=1, help="Days after which an unfinished upload is removed.")] = 7,
    keep_old: Annotated[int, typer.Option(min=1, help="Days for which a replaced version is kept.")] = 90,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make buckets with versioning, encryption and a lifecycle rule, each where the server supports it."""
    from protoquant.storage.buckets import init_bucket
    from protoquant.storage.client import connect
    from protoquant.storage.location import check_bucket

    names = [bucket.removeprefix("s3://").rstrip("/") for bucket in buckets]
    for name in names:
        check_bucket(name, "BUCKET")
    client = connect()
    done = {name: init_bucket(client, name, abort_days=abort_after, old_days=keep_old) for name in names}
    if as_json:
        typer.echo(json.dumps({name: [asdict(step) for step in steps] for name, steps in done.items()}, indent=2))
        return
    table = Table("bucket", "what", "outcome")
    for name, steps in done.items():
        for step in steps:
            table.add_row(name, step.name, step.outcome)
    Console().print(table, highlight=False)


def publish(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Folder with index.html, a file, an MLflow run id or models:/NAME@ALIAS.",
            show_default=False,
        ),
    ],
    target: Annotated[str, typer.Argument(metavar="S3_URI", help="s3://bucket/prefix", show_default=False)],
    *,
    expires: Annotated[int, typer.Option(min=1, max=168, help="Hours for which the link works.")] = 168,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Upload a report to S3 and print a link that opens it without keys."""
    from protoquant.core.log import listening
    from protoquant.storage.client import connect
    from protoquant.storage.location import Location
    from protoquant.storage.publish import publish as upload

    location = Location.parse(target, "the target")
    with tempfile.TemporaryDirectory(prefix="protoquant-") as folder, listening(Console(stderr=True)) as on_event:
        source = _source(run, Path(folder))
        done = upload(connect(), source, location, expires=expires, on_event=on_event)
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2))
        return
    Console(stderr=True).print(
        f"{done.files} files, {done.size / MIB:,.1f} MiB; the link works for {done.expires} hours", highlight=False
    )
    typer.echo(done.uri)
    typer.echo(done.link)


def _source(run: str, into: Path) -> Path:
    """Return the files to publish; a name that is neither on disk nor shaped like MLflow's counts as a path."""
    from protoquant.tracking.registry.source import is_tracked

    path = Path(run)
    if path.exists() or not is_tracked(run):
        return path
    from protoquant.tracking.runs.report import fetch_report

    return fetch_report(run, workspace=Workspace(Path.cwd()), into=into)
