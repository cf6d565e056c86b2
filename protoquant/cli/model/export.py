"""``protoquant export``: a model as files that run without ProtoQuant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from protoquant.cli.model.predict import DEFAULT, AsJson, Source, Weights

if TYPE_CHECKING:
    from protoquant.export.export import ExportResult


def export(
    *,
    model: Source = DEFAULT,
    weights: Weights = None,
    out: Annotated[Path, typer.Option(help="Folder of the files; an older export there is replaced.")] = Path(
        "artifacts/export"
    ),
    format_: Annotated[
        Literal["onnx", "torch", "both"],
        typer.Option("--format", help="ONNX, a program of torch.export, or both."),
    ] = "both",
    as_json: AsJson = False,
) -> None:
    """Write a model as ONNX and as a torch program, each checked against the model on golden images."""
    import protoquant
    from protoquant.core.log import listening
    from protoquant.export.export import FORMATS
    from protoquant.export.export import export as step

    _check_out(out)
    chosen = [name for name in FORMATS if format_ in {name, "both"}]
    loaded = protoquant.load(model, device="cpu", weights=weights)
    with listening(Console(stderr=True)) as on_event:
        found = step(loaded, out=out, formats=chosen, on_event=on_event)
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=2))
    else:
        _print(found)


def _check_out(out: Path) -> None:
    """Refuse a folder that holds anything but an export, since export replaces all of it."""
    from protoquant.core.artifacts import open_artifact
    from protoquant.core.errors import ArtifactError, UsageError
    from protoquant.export.card import KIND

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        open_artifact(out, KIND, verify=False)
    except (ArtifactError, NotADirectoryError) as error:
        raise UsageError(
            f"--out: {out} is no export and would be replaced; name another folder or remove it"
        ) from error


def _plain(found: ExportResult) -> dict[str, Any]:
    return {
        "out": str(found.out),
        "bytes": dict(found.sizes),
        "parity": {name: parity.to_dict() for name, parity in found.parity.items()},
        "milliseconds": {name: round(1e3 * seconds, 1) for name, seconds in found.latency.items()},
    }


def _print(found: ExportResult) -> None:
    height, width = found.pixels
    table = Table(
        "runs in",
        "largest difference: logits",
        "presence",
        "milliseconds for one image",
        "MiB",
        caption=f"one image of {width} x {height} pixels, median, preprocessing included",
    )
    table.add_row("ProtoQuant", "", "", f"{1e3 * found.latency['model']:.1f}", "")
    for (name, parity), size in zip(found.parity.items(), found.sizes.values(), strict=True):
        latency = f"{1e3 * found.latency[name]:.1f}"
        table.add_row(name, f"{parity.logits:.2g}", f"{parity.scores:.2g}", latency, f"{size / 2**20:.1f}")
    Console().print(table, highlight=False, markup=False)
    Console().print(f"export: {found.out}", highlight=False, markup=False, soft_wrap=True)
