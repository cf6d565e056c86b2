"""``protoquant cache``: the feature shards that all runs of a repository share."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from protoquant.core.workspace import Workspace

if TYPE_CHECKING:
    from protoquant.features.store.cache import FeatureCache

app = typer.Typer(
    help="The feature shards on this machine that all runs of a repository share; not those in S3.",
    no_args_is_help=True,
)

DAY = 24 * 3600.0
MIB = 2.0**20


@app.command("list")
def show(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the shards of the local cache, the longest unused first."""
    entries = _cache().entries()
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    table = Table("key", "backbone", "images", "MiB", "days unused")
    for entry in entries:
        size, age = f"{entry.size / MIB:,.1f}", f"{entry.age / DAY:.1f}"
        table.add_row(entry.key[:12], entry.backbone, f"{entry.images:,}", size, age)
    Console().print(table, highlight=False)


@app.command()
def prune(
    *,
    older_than: Annotated[float | None, typer.Option(min=0, help="Days since the last use.")] = None,
    larger_than: Annotated[float | None, typer.Option(min=0, help="MiB that may stay, newest first.")] = None,
) -> None:
    """Remove shards of the local cache by age or size; the next extract finds in S3 or computes what it needs."""
    if older_than is None and larger_than is None:
        raise typer.BadParameter("say what may go: --older-than DAYS or --larger-than MIB")
    cache = _cache()
    removed = cache.prune(
        max_age=None if older_than is None else older_than * DAY,
        max_bytes=None if larger_than is None else int(larger_than * MIB),
    )
    freed = sum(entry.size for entry in removed) / MIB
    kept = len(cache.entries())
    Console().print(f"{len(removed)} shards removed, {freed:,.1f} MiB; {kept} kept", highlight=False)


def _cache() -> "FeatureCache":
    from protoquant.features.store.cache import FeatureCache

    return FeatureCache(Workspace(Path.cwd()).feature_cache)
