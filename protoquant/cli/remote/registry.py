"""``protoquant registry``: the versions of a model, and which of them is champion."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from protoquant.cli.heavy_imports import importing
from protoquant.cli.remote import registry_diff
from protoquant.core.errors import ConfigError, ProtoQuantError, UsageError
from protoquant.core.log import listening
from protoquant.core.workspace import Workspace

if TYPE_CHECKING:
    from protoquant.tracking.promotion.gates import GateVerdict
    from protoquant.tracking.registry.versions import Listed, Named

app = typer.Typer(
    help="The registered versions of a model: look, compare, promote, roll back, put away.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Which = Annotated[
    str,
    typer.Argument(
        help="NAME (its challenger), models:/NAME@ALIAS or models:/NAME/VERSION; "
        "if absent, the challenger of register.name in params.yaml.",
        show_default=False,
    ),
]
_GATE = {True: "passed", False: "REFUSED", None: "off"}


@app.command("list")
def show_list(
    name: Annotated[str, typer.Argument(help="A registered model; all of them if absent.", show_default=False)] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List the versions with their aliases, numbers and verdicts."""
    workspace = _workspace()
    with importing():
        from protoquant.tracking.connection.store import open_store
        from protoquant.tracking.registry.versions import Named, list_versions
    with open_store(workspace, create=False) as store:
        found = list_versions(store, workspace, Named.parse(name).name if name else None)
    if as_json:
        typer.echo(json.dumps([each.to_dict() for each in found], indent=2))
        return
    table = Table(box=SIMPLE, pad_edge=False)
    for title in ("version", "alias", "made", "val.", "test", "size", "gates"):
        table.add_column(title, no_wrap=title in ("version", "made"))
    for each in found:
        table.add_row(
            f"{each.name}/{each.version}",
            ", ".join((*each.aliases, *(["archived"] if each.archived else []))),
            each.created[:10],
            _share(each, "validation"),
            _share(each, "test"),
            "" if each.class_size is None else f"{each.class_size:.1f}",
            (each.verdict or "-") if each.whole else "files GONE",
        )
    Console().print(table, highlight=False, markup=False)


@app.command()
def show(which: Which = "", *, as_json: AsJson = False) -> None:
    """Show one version: numbers, the verdict gate by gate, where it comes from, its pages."""
    workspace = _workspace()
    with importing():
        from protoquant.tracking.connection.store import open_store
        from protoquant.tracking.registry.versions import describe
    with open_store(workspace, create=False) as store:
        found = describe(store, workspace, _named(which, workspace).find(store))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # shows digests and addresses in full
    for row in _rows(found):
        table.add_row(*row)
    Console().print(table, highlight=False, markup=False)
    if found.gates:
        _print_verdict(found.gates)


app.command()(registry_diff.diff)


@app.command()
def promote(
    which: Which = "",
    *,
    force: Annotated[bool, typer.Option("--force", help="Whatever the gates say; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why it is forced; kept on the version.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Make a version champion if every gate of params.yaml lets it pass."""
    workspace = _workspace()
    from protoquant.core.runtime import Runtime
    from protoquant.settings.roots import image_root
    from protoquant.settings.settings import Settings
    from protoquant.tracking.connection.store import open_store
    from protoquant.tracking.promotion.promotion import promote as step

    if force != bool(reason.strip()):
        raise UsageError("to force a promotion, say why: --force --reason 'why'; without --force the gates decide")
    settings = Settings.load(workspace.params)
    with listening(Console(stderr=True)) as on_event, open_store(workspace, create=False) as store:
        result = step(
            store,
            _named(which, workspace),
            gates=settings.gates,
            workspace=workspace,
            root=partial(image_root, settings.prepare, workspace, Runtime.from_environment().workers, on_event),
            force=reason.strip() if force else None,
            on_event=on_event,
        )
    if as_json:
        verdict = result.verdict.to_dict() if result.verdict else None
        typer.echo(json.dumps({**vars(result), "verdict": verdict}, indent=2))
    elif result.verdict:
        _print_verdict(result.verdict)
    if result.verdict and result.refused:
        raise ProtoQuantError(
            f"version {result.version} of {result.name} is {result.verdict.word}; "
            f"the champion stays {'none' if result.before is None else f'version {result.before}'}"
        )


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="A registered model; register.name if absent.", show_default=False)] = "",
    *,
    to: Annotated[int | None, typer.Option(min=1, help="An earlier champion than the one before.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept on the version that is left.", show_default=False)] = "",
) -> None:
    """Make the champion before the present one champion again; no gate is asked."""
    workspace = _workspace()
    from protoquant.tracking.connection.store import open_store
    from protoquant.tracking.promotion.rollback import roll_back

    with listening(Console(stderr=True)) as on_event, open_store(workspace, create=False) as store:
        roll_back(store, _named(name, workspace).name, to=to, reason=reason.strip() or None, on_event=on_event)


@app.command()
def archive(
    name: Annotated[str, typer.Argument(help="A registered model.")],
    version: Annotated[int, typer.Argument(min=1, help="The version.")],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
) -> None:
    """Put a version away: it stays, and cannot become champion."""
    workspace = _workspace()
    from protoquant.tracking.connection.store import open_store
    from protoquant.tracking.promotion.rollback import archive as step

    with open_store(workspace, create=False) as store:
        said = step(store, _named(name, workspace).name, version, undo=undo)
    Console().print(said, highlight=False, markup=False, soft_wrap=True)


def _named(which: str, workspace: Workspace) -> Named:
    from protoquant.settings.settings import Settings
    from protoquant.tracking.registry.versions import CHALLENGER, Named

    if which:
        return Named.parse(which)
    try:
        register = Settings.load(workspace.params).register_
    except ConfigError as error:
        raise UsageError(f"name a registered model, or run where params.yaml names one: {error}") from error
    return Named(register.name, register.alias or CHALLENGER, None)


def _workspace() -> Workspace:
    """Return the workspace, after a check that there is a registry to ask."""
    from protoquant.tracking.connection.address import check_registry

    workspace = Workspace(Path.cwd())
    check_registry(workspace)
    return workspace


def _share(version: Listed, split: str) -> str:
    found = version.accuracy.get(split)
    return "" if found is None else f"{found['value']:.4f}"


def _accuracy(version: Listed, split: str) -> str:
    found = version.accuracy.get(split)
    if found is None:
        return ""
    low, high = found["low"], found["high"]
    return f"{found['value']:.4f}" + ("" if low is None or high is None else f" ({low:.4f} to {high:.4f})")


def _rows(found: Listed) -> list[tuple[str, str]]:
    rows = [
        ("version", f"{found.version} of {found.name}"),
        ("aliases", ", ".join(found.aliases)),
        ("created", found.created),
        ("accuracy on validation", _accuracy(found, "validation")),
        ("accuracy on test", _accuracy(found, "test")),
        ("prototypes per class", "" if found.class_size is None else f"{found.class_size:.2f}"),
        ("files", "there" if found.whole else "GONE from the store"),
        ("archived", found.archived or ""),
        ("git commit", found.git["commit"] + (", with changes" if found.git["dirty"] == "true" else "")),
        *((f"{name} digest", digest) for name, digest in found.digests.items()),
        *((name.replace("_", " "), value) for name, value in found.history.items()),
        ("run", found.links.run or found.run_id),
        ("page", found.links.version or ""),
        ("report", found.links.report or ""),
        ("gates", found.verdict or "not asked; protoquant registry promote asks them"),
    ]
    return [(name, value) for name, value in rows if value]


def _print_verdict(verdict: GateVerdict) -> None:
    rival = "no champion" if verdict.champion is None else f"the champion, version {verdict.champion}"
    table = Table("gate", "verdict", "why", title=f"version {verdict.version} against {rival}", caption=verdict.beside)
    for gate in verdict.gates:
        table.add_row(gate.name, _GATE[gate.passed], gate.said)
    Console().print(table, highlight=False, markup=False)
    if verdict.forced:
        Console().print(f"forced: {verdict.forced}", highlight=False, markup=False, soft_wrap=True)
