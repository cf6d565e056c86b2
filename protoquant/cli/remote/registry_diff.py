"""``protoquant registry diff``: two versions of a model side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from protoquant.analysis.diff.diff import Diff
    from protoquant.model.bundle import Bundle

_ROWS = 6
_FORMS = "a bundle folder, or an MLflow URI: models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/model"


def diff(
    before: Annotated[str, typer.Argument(help=f"The first model: {_FORMS}.")],
    after: Annotated[str, typer.Argument(help="The second, likewise.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Also write a page with pictures, a file that ends in .html.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the images, for pictures of those whose answer changed; artifacts/images if there."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Say what differs between two models: numbers, settings, prototypes, classes and answers."""
    from protoquant.analysis.diff.diff import compare

    _check(out, images)
    one, other = _opened(before), _opened(after)
    found = compare(one, other, names=_names(before, after), test=_on_test(before, after))
    if out is not None:
        from protoquant.analysis.diff.page import render

        out.write_text(render(found, one, other, images=images or _drawn()), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    _print(found)
    if out is not None:
        Console().print(f"page: {out}", highlight=False, markup=False, soft_wrap=True)


def _check(out: Path | None, images: Path | None) -> None:
    from protoquant.core.errors import UsageError

    if out is not None and (out.suffix.lower() != ".html" or out.is_dir()):
        raise UsageError(f"--out must be a file that ends in .html, got {out}")
    if out is not None and not out.resolve().parent.is_dir():
        raise UsageError(f"--out: there is no folder {out.resolve().parent}; make it first")
    if images is not None and not images.is_dir():
        raise UsageError(f"--images: there is no folder {images}")


def _opened(source: str) -> Bundle:
    """Open the bundle of a folder or URI without building its backbone."""
    from protoquant.model.bundle import Bundle
    from protoquant.tracking.registry.source import is_uri

    if is_uri(source):
        from protoquant.core.workspace import Workspace
        from protoquant.tracking.registry.fetch import fetch_bundle

        return Bundle.open(fetch_bundle(source, workspace=Workspace(Path.cwd())).bundle)
    return Bundle.open(Path(source))


def _on_test(before: str, after: str) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return the metrics of two registered versions on test; None if one is no version."""
    from protoquant.tracking.registry.source import MODELS

    if not (before.startswith(MODELS) and after.startswith(MODELS)):
        return None
    from protoquant.core.workspace import Workspace
    from protoquant.evaluation.metrics.registry import of_tracked
    from protoquant.tracking.connection.store import open_store
    from protoquant.tracking.promotion.evidence import run_metrics
    from protoquant.tracking.registry.versions import Named

    with open_store(Workspace(Path.cwd()), create=False) as store:
        one, other = (of_tracked(run_metrics(store, Named.parse(uri).find(store))) for uri in (before, after))
    return one, other


def _names(before: str, after: str) -> tuple[str, str]:
    """Return readable names: URIs without their scheme, folders from the point where their paths differ."""
    from protoquant.tracking.registry.source import MODELS, is_uri

    if is_uri(before) or is_uri(after):
        return before.removeprefix(MODELS), after.removeprefix(MODELS)
    one, other = Path(before).resolve().parts, Path(after).resolve().parts
    if one[-1] != other[-1] or one == other:
        return one[-1], other[-1]
    parting = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return "/".join(one[parting:]), "/".join(other[parting:])


def _drawn() -> Path | None:
    """Return the folder of the workspace's own images, if there is one."""
    from protoquant.core.workspace import Workspace

    folder = Workspace(Path.cwd()).images
    return folder if folder.is_dir() else None


def _print(found: Diff) -> None:
    from protoquant.analysis.diff import words
    from protoquant.pages.formatters import setting

    console = Console()
    console.print(f"before: {found.names[0]}\nafter:  {found.names[1]}", highlight=False, markup=False, soft_wrap=True)
    for sentence in (*words.headline(found), *found.notes):
        console.print(sentence, highlight=False, markup=False)
    for title, numbers in (("numbers", found.numbers), ("on test: decides nothing", found.test_numbers)):
        table = Table(title, "before", "after", "change", "95 % interval", box=None)
        for number in numbers:
            before, after = words.amount(number, number.before), words.amount(number, number.after)
            table.add_row(number.name, before, after, words.change(number, number.change), words.interval(number))
        _show(console, table, len(numbers))
    if found.same:
        return
    table = Table("setting", "before", "after", box=None)
    for each in found.settings[:_ROWS]:
        table.add_row(each.key, setting(each.before), setting(each.after))
    _show(console, table, len(found.settings))
    _print_classes(console, found)
    _print_images(console, found)


def _print_images(console: Console, found: Diff) -> None:
    """Print the first images whose answer changed, one line each."""
    if found.images:
        console.print("\nimages whose answer changed")
    said = {"lost": "now wrong", "gained": "now right", "other": "otherwise wrong"}
    for image in found.images[:_ROWS]:
        text = f"{said[image.kind]}: {image.image_id}, {image.before} -> {image.after}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    if len(found.images) > _ROWS:
        console.print(f"and {len(found.images) - _ROWS:,} more (--json, --out)", highlight=False)


def _print_classes(console: Console, found: Diff) -> None:
    """Print the classes that lost most and those that gained most."""
    changed = [each for each in found.classes if each.gained or each.lost or each.change]
    ends = changed if len(changed) <= _ROWS else [*changed[: _ROWS // 2], *changed[-_ROWS // 2 :]]
    table = Table("class", "before", "after", "gained", "lost", box=None)
    for each in ends:
        rates = (_rate(each.right_before, each.n_before), _rate(each.right_after, each.n_after))
        table.add_row(each.name, *rates, str(each.gained), str(each.lost))
    _show(console, table, len(changed))


def _rate(right: int | None, n: int | None) -> str:
    from protoquant.pages.formatters import MISSING

    return f"{right} of {n}" if n else MISSING


def _show(console: Console, table: Table, count: int) -> None:
    if not count:
        return
    console.print()
    console.print(table, highlight=False, markup=False)
    if count > table.row_count:
        console.print(f"and {count - table.row_count:,} more (--json, --out)", highlight=False)
