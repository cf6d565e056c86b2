"""The verbs that make a trained model smaller: prune, study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from protoquant.cli.pipeline.stages import running

if TYPE_CHECKING:
    import pandas as pd

    from protoquant.features.store.store import FeatureStore

_HOLD = 2.0**30  # bytes of cosines that the study may keep, to score again without reading tokens

Bundle = Annotated[Path | None, typer.Option(help="The bundle to start from; artifacts/bundle if absent.")]


def prune(
    plan: Annotated[Path, typer.Argument(help="A plan: a YAML file with the keys of params.yaml's train.prune.")],
    *,
    bundle: Bundle = None,
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; OUT.png beside it is its figure.")] = Path(
        "artifacts/pruned"
    ),
) -> None:
    """Prune the trained model by a plan: fewer prototypes or weights, measured on validation at every step."""
    from protoquant.head.prune_plan import PrunePlan

    given = PrunePlan.load(plan)
    with running() as run:
        from protoquant.prune.rewrite import prune_and_write
        from protoquant.prune.study.figure import draw_steps, plan_steps

        source = bundle or run.workspace.bundle
        result = prune_and_write(
            given,
            bundle=source,
            features=run.workspace.features,
            out=out,
            device=run.device(),
            on_event=run.on_event,
        )
        picture = out.with_name(f"{out.name}.png")
        draw_steps(plan_steps(result.table), result.images, picture)
    _print(result.table, "ratio", "left", "prototypes", "class_size", "local_size", *_ACCURACIES, "work", "selected")
    Console().print(f"{result.sentence}\nbundle: {out}\npicture: {picture}", highlight=False, soft_wrap=True)


def study(
    config: Annotated[Path | None, typer.Argument(help="What to try: a YAML file; the defaults if absent.")] = None,
    *,
    bundle: Bundle = None,
    out: Annotated[Path, typer.Option(help="Folder of the tables and the figure.")] = Path("artifacts/study"),
    test: Annotated[
        bool, typer.Option("--test", help="Report accuracy on test; nothing is chosen by it. Else on validation.")
    ] = False,
) -> None:
    """Compare one-shot, iterative, patient and hybrid pruning over ratios and draws of the train images."""
    from protoquant.prune.study.config import StudyConfig

    given = StudyConfig() if config is None else StudyConfig.load(config)
    with running() as run:
        from protoquant.prune.rewrite import open_for_pruning
        from protoquant.prune.study.compare import verdict
        from protoquant.prune.study.curve import areas
        from protoquant.prune.study.files import study_bundle, write_study

        source = bundle or run.workspace.bundle
        names = ("train", "validation", "test") if test else ("train", "validation")
        opened, stores = open_for_pruning(source, run.workspace.features, names)
        found = study_bundle(given, opened, stores, device=run.device(), on_event=run.on_event, hold=_HOLD)
        write_study(out, found, given, _digests(source, stores), stores[names[-1]].n)
    _print_comparison(found.comparison)
    _print(found.curve, *found.curve.columns)
    lines = [*verdict(found.comparison, given.level)]
    lines += [
        f"mean accuracy over the log of the class budget, {way}: {value:.4f}"
        for way, value in areas(found.curve).items()
    ]
    Console().print("\n".join([*lines, f"tables and figure: {out}"]), highlight=False, soft_wrap=True)


_HEADINGS = {
    "class_size": "per class",
    "local_size": "local",
    "top1_before": "before",
    "validation_top1": "after",
    "selected": "taken",
}
_ACCURACIES = ("top1_before", "validation_top1")


def _digests(source: Path, stores: dict[str, FeatureStore]) -> dict[str, str]:
    from protoquant.core.artifacts import artifact_digest

    return {"bundle": artifact_digest(source), **{f"features/{name}": store.digest for name, store in stores.items()}}


def _print_comparison(comparison: pd.DataFrame) -> None:
    for tuner, rows in comparison.groupby("tuner", sort=False):
        _print_tuner(str(tuner), rows)


def _print_tuner(tuner: str, rows: pd.DataFrame) -> None:
    columns = ("strategy", "ratio", "top-1", "one-shot", "points above", "winner")
    table = Table(*columns, box=SIMPLE, title=f"fine-tuning: {tuner}", title_justify="left")
    for row in rows.to_dict("records"):
        mean, low, high = (100 * row[name] for name in ("difference", "low", "high"))
        numbers = (f"{row['ratio']:g}", f"{row['top1']:.3f}", f"{row['base']:.3f}")
        above = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        table.add_row(row["strategy"], *numbers, above, row["winner"])
    Console().print(table, highlight=False, markup=False)


def _print(frame: pd.DataFrame, *columns: str) -> None:
    table = Table(*(_HEADINGS.get(column, column) for column in columns))
    for row in frame[list(columns)].to_dict("records"):
        table.add_row(*(_text(value) for value in row.values()))
    Console().print(table, highlight=False, markup=False)


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
