"""``protoquant backbones``: which frozen networks there are, and what they give."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(help="Which backbones there are, and what they give.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def show(
    pattern: Annotated[str, typer.Argument(help="Part of the name, or a pattern such as 'vit_*_dinov2*'.")] = "*",
    *,
    as_json: AsJson = False,
) -> None:
    """List the models that timm has weights for."""
    from protoquant.features.backbone.catalogue import backbone_names

    names = backbone_names(pattern)
    typer.echo(json.dumps(names, indent=2) if as_json else "\n".join(names))


@app.command()
def inspect(
    name: Annotated[str, typer.Argument(help="timm's name of the model.")],
    input_size: Annotated[int | None, typer.Option(help="Side of the input, in pixels.")] = None,
    grid: Annotated[int | None, typer.Option(help="Side of the input, in cells of the last map.")] = None,
    output_stride: Annotated[int | None, typer.Option(help="8 or 16: pixels of a cell, by dilation.")] = None,
    patch_stride: Annotated[int | None, typer.Option(help="Pixels from one patch to the next.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a backbone gives: patch tokens, grid, preprocessing. Needs no weights."""
    from protoquant.features.backbone.catalogue import describe

    told = asdict(
        describe(name, input_size=input_size, grid=grid, output_stride=output_stride, patch_stride=patch_stride)
    )
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    table = Table("", name)
    for key, value in told.items():
        text = "\n".join(f"{name}: {of}" for name, of in value.items()) if key == "layers" else str(value)
        table.add_row(key.replace("_", " "), text)
    Console().print(table, highlight=False, markup=False)
