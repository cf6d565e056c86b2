"""``protoquant config``: look at params.yaml and check it."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from protoquant.core.errors import UsageError
from protoquant.core.workspace import Workspace
from protoquant.settings.roots import check_root

app = typer.Typer(help="Look at params.yaml, check it, fill it from a preset.", no_args_is_help=True)


@app.command()
def check() -> None:
    """Say whether every key and value of params.yaml is possible, the images are there, and MLflow answers."""
    from protoquant.settings.settings import Settings
    from protoquant.tracking.connection.address import check_tracking

    workspace = Workspace(Path.cwd())
    check_root(Settings.load(workspace.params).prepare, workspace)
    check_tracking(workspace)
    Console().print(f"{workspace.params.name} is valid", highlight=False)


@app.command()
def show(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the values as JSON.")] = False,
) -> None:
    """Show every value in force, what it may be, and what it means."""
    from protoquant.core.section import Section
    from protoquant.settings.settings import Settings

    settings = Settings.load(Workspace(Path.cwd()).params)
    if as_json:
        typer.echo(json.dumps(settings.model_dump(mode="json", by_alias=True), indent=2))
        return
    table = Table("key", "value", "may be", "meaning")
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if not isinstance(value, Section):
            table.add_row(name, repr(value), Settings.allowed()[name], field.description or "")
            continue
        table.add_section()
        allowed = type(value).allowed()
        for key, inner in type(value).model_fields.items():
            said = json.dumps(value.model_dump(mode="json")[key])
            table.add_row(f"{field.alias or name}.{key}", said, allowed[key], inner.description or "")
    Console().print(table, highlight=False, markup=False)


@app.command()
def apply(
    name: Annotated[str, typer.Argument(help="A file of presets/, without its ending.", show_default=False)] = "",
    *,
    data: Annotated[str, typer.Option(help="Which images: a file of presets/data/.", show_default=False)] = "",
    backbone: Annotated[str, typer.Option(help="A file of presets/backbones/.", show_default=False)] = "",
    names: Annotated[bool, typer.Option("--list", help="Say which there are.")] = False,
) -> None:
    """Write whole sections from presets/ into params.yaml; its other sections and comments stay."""
    from protoquant.settings import presets

    workspace, console = Workspace(Path.cwd()), Console()
    if names:
        table = Table("", "name", "what it is")
        for kind in presets.KINDS:
            table.add_section()
            for one in presets.preset_names(workspace.presets, kind):
                table.add_row(kind, one, presets.Preset.open(workspace.presets, one, kind).summary)
        console.print(table, highlight=False, markup=False)
        return
    given = {"preset": name, "data": data, "backbone": backbone}
    chosen = {kind: presets.Preset.open(workspace.presets, one, kind) for kind, one in given.items() if one}
    if not chosen:
        known = ", ".join(presets.preset_names(workspace.presets))
        raise UsageError(f"name a preset ({known}), --data or --backbone; --list says which there are")
    sections = " and ".join(section for preset in chosen.values() for section in preset.values)
    named = ", ".join(f"{kind} {preset.name}" for kind, preset in chosen.items())
    if presets.apply(chosen.values(), workspace.params):
        said = f"{workspace.params.name}: {sections} are those of {named}; next: protoquant config check, dvc repro"
    else:
        said = f"{workspace.params.name} holds {named} already: {sections} stay as they are"
    console.print(said, highlight=False, markup=False, soft_wrap=True)
