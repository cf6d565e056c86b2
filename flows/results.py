"""Shows a finished run on its page: the numbers, the accuracy-sparsity picture, the links."""

import io
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from protoquant.core.artifacts import read_json
from protoquant.core.errors import UnavailableError
from protoquant.core.workspace import Workspace
from protoquant.evaluation.metrics.registry import by_headline
from protoquant.pages.axes import ACCURACY, SIZE
from protoquant.pages.pictures import data_uri, save_figure
from protoquant.pipeline.isolated_run import IsolatedRun

_INTERVAL = ("top1_low", "top1_high")


def show_results(run: IsolatedRun) -> None:
    """Put the artifacts of a finished experiment on the page of the flow run."""
    workspace = run.workspace
    create_table_artifact(metrics_table(read_json(workspace.metrics)), key="metrics", description="Measured on test")
    # In Markdown, because below an image artifact the page prints the whole data URL.
    create_markdown_artifact(
        f"![accuracy against sparsity]({picture(workspace.bundle / 'path.csv')})",
        key="accuracy-against-sparsity",
        description="Every head that was tried; the chosen one is ringed",
    )
    create_markdown_artifact(links(run), key="links", description="Where the run's results are")


def metrics_table(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of metrics.json as rows, with the interval of top-1 and the meaning of each."""
    rows = []
    for name, value in sorted(metrics.items()):
        if name not in _INTERVAL:
            interval = " to ".join(f"{metrics[end]:g}" for end in _INTERVAL if end in metrics) if name == "top1" else ""
            metric = by_headline(name)
            meaning = metric.meaning if metric else ""
            rows.append({"metric": name, "value": value, "interval": interval, "meaning": meaning})
    return rows


def picture(path: Path) -> str:
    """Draw validation accuracy against prototypes per class as a PNG in a data URL."""
    import pandas as pd
    from matplotlib.figure import Figure

    heads = pd.read_csv(path)
    figure = Figure(figsize=(6.4, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    for temperature, points in heads.groupby("temperature"):
        line = points.sort_values("class_size")
        label = f"temperature {temperature:g}"
        axes.plot(line["class_size"], 100 * line["validation_top1"], marker="o", markersize=4, label=label)
    chosen = heads[heads["selected"] == 1]
    axes.plot(
        chosen["class_size"], 100 * chosen["validation_top1"], "o", markersize=11, mfc="none", mec="black", mew=1.5
    )
    axes.set_xlabel(SIZE)
    axes.set_ylabel(ACCURACY)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    out = io.BytesIO()
    save_figure(figure, out)
    return data_uri(out.getvalue(), "png")


def links(run: IsolatedRun) -> str:
    """Say in Markdown where the run, the model, the report and the experiment are."""
    from protoquant.tracking.registry.registered_model import find_registered

    name = run.plan.name
    config = run.settings.register_
    try:
        found = find_registered(config, workspace=Workspace(run.clone), bundle=run.workspace.bundle)
    except UnavailableError as error:
        return f"{error}\n\n{_experiment(name)}"
    if found is None:
        return f"The model waits for its server: `protoquant tracking sync` sends it.\n\n{_experiment(name)}"
    model = f"{found.name} version {found.version}"
    aliases = "".join(f", @{alias}" for alias in found.aliases)
    if found.run_url is None:
        return f"- model `models:/{found.name}/{found.version}`{aliases}, run `{found.run_id}`\n{_experiment(name)}"
    return "\n".join(
        [
            f"- [MLflow run]({found.run_url})",
            f"- [{model}]({found.version_url}){aliases}",
            f"- [report]({found.report_url})",
            _experiment(name),
        ]
    )


def _experiment(name: str) -> str:
    return f"- DVC experiment `{name}`: `dvc exp show`, `dvc exp apply {name}`, `dvc exp branch {name} BRANCH`"
