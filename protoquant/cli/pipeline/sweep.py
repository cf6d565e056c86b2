"""``protoquant sweep``: search codebook sizes, sparsities and any other key of quantize and train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from protoquant.core.errors import ProtoQuantError
from protoquant.core.log import listening
from protoquant.core.workspace import Workspace

if TYPE_CHECKING:
    from protoquant.sweep.sweep import SweepResult

app = typer.Typer(help="Search keys of quantize and train on the stored features.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the sweep; its folder is artifacts/sweeps/NAME.", metavar="NAME")]
_SHOWN = 20


@app.command()
def run(name: Name) -> None:
    """Run the sweep that section sweep of params.yaml describes."""
    from protoquant.sweep.sweep import begin

    _search(begin, name)


@app.command()
def resume(name: Name) -> None:
    """Go on with a sweep that was interrupted, or whose trials failed; what has ended stays."""
    from protoquant.sweep.sweep import resume as go_on

    _search(go_on, name)


@app.command()
def show(name: Name) -> None:
    """Print what a sweep has found so far, and write its page anew."""
    from protoquant.sweep.sweep import PAGE, answer

    found = answer(name, Workspace(Path.cwd()))
    _print(found)
    console = Console()
    if found.choice is not None:
        console.print(f"{found.choice.sentence}\n{found.choice.caution}", highlight=False, markup=False)
    if found.left:
        said = f"{found.left} trials are left or failed; protoquant sweep resume {name} runs them"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    console.print(f"page: {found.folder / PAGE}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def apply(name: Name) -> None:
    """Write the winner's values into params.yaml; comments and all other values stay."""
    from protoquant.sweep.sweep import apply as write
    from protoquant.sweep.sweep import differences

    workspace = Workspace(Path.cwd())
    changes, changed = write(name, workspace)
    values = ", ".join(f"{key} {value}" for key, value in changes.items())
    said = f"params.yaml: {values}; next: dvc repro" if changed else f"params.yaml holds the winner already: {values}"
    console = Console()
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    if others := differences(name, workspace):
        note = f"note: {', '.join(others)} differ from what the sweep ran with; its numbers are not those of this file"
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _search(step: Callable[..., SweepResult], name: str) -> None:
    """Run trials, then print the results; raise an error if trials failed."""
    from protoquant.core.runtime import Runtime

    with listening(Console(stderr=True)) as on_event:
        found = step(name, Workspace(Path.cwd()), device=Runtime.from_environment().device, on_event=on_event)
    _print(found)
    _check(found)


def _check(found: SweepResult) -> None:
    """Raise an error if trials failed, whatever the others found."""
    if found.left:
        raise ProtoQuantError(
            f"{found.left} of {found.left + int((found.trials['state'] != 'failed').sum())} trials failed; "
            f"protoquant sweep resume {found.name} runs them again"
        )


def _headers(keys: Sequence[str]) -> list[str]:
    """Return the last word of each key, or the whole key if another ends with the same word."""
    words = [key.rpartition(".")[2] for key in keys]
    return [word if words.count(word) == 1 else key for word, key in zip(words, keys, strict=True)]


def _print(found: SweepResult) -> None:
    """Print the trials, the most accurate first."""
    table = Table("trial", *_headers(found.keys), "codes", "accuracy", "per class", "seconds", "", box=SIMPLE)
    ranked = found.trials.sort_values(["accuracy", "number"], ascending=[False, True])
    for row in ranked.head(_SHOWN).to_dict("records"):
        done = row["state"] == "done"
        chosen = found.choice is not None and row["trial"] == found.choice.trial
        numbers = (f"{row['k']:.0f}", f"{row['accuracy']:.4f}", f"{row['class_size']:.2f}") if done else ("", "", "")
        said = "chosen" if chosen else "" if done else row["error"]
        table.add_row(
            str(row["number"]), *(str(row[key]) for key in found.keys), *numbers, f"{row['seconds']:.1f}", said
        )
    console = Console()
    console.print(table, highlight=False, markup=False)
    if len(ranked) > _SHOWN:
        console.print(f"and {len(ranked) - _SHOWN} more on the page", highlight=False)
