"""Runs the study on a bundle and writes its files."""

from collections.abc import Mapping
from pathlib import Path

import torch

from protoquant.core.artifacts import writing
from protoquant.core.events import OnEvent
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle
from protoquant.prune.apply import starting_point
from protoquant.prune.study.config import StudyConfig
from protoquant.prune.study.figure import draw_study, study_panels
from protoquant.prune.study.study import Study, study

KIND = "study"
RUNS, COMPARISON, CURVE, FIGURE = "runs.csv", "comparison.csv", "budgets.csv", "study.png"


def study_bundle(
    config: StudyConfig,
    bundle: Bundle,
    stores: Mapping[str, FeatureStore],
    *,
    device: torch.device,
    on_event: OnEvent,
    hold: float = 0.0,
) -> Study:
    """Run the study on a bundle's head.

    Args:
        config: Settings of the study.
        bundle: The model; it is not changed.
        stores: Train and validation; if test is included, its accuracies are reported.
        device: Device to compute on.
        on_event: Receives progress for each draw.
        hold: Bytes of cosines that may stay in memory.
    """
    plan = config.plan("one_shot", "refit", config.ratios[0], config.seed)
    start = starting_point(plan, bundle, stores, device=device, on_event=on_event, hold=hold)
    return study(config, start, on_event)


def write_study(out: Path, found: Study, config: StudyConfig, inputs: Mapping[str, str], n: int) -> None:
    """Write the tables and the figure.

    Args:
        out: The folder; an older one is replaced.
        found: Result of the study.
        config: Settings of the study.
        inputs: Digests of the bundle and of each split.
        n: Number of images that the accuracy was measured on.
    """
    panels = study_panels(found.runs, found.comparison, found.measured, config.level)
    caption = (
        f"{config.unit}s ranked by {config.criterion}, {config.semantics} mode; n = {n:,} images; mean and "
        f"{config.level:.0%} interval over {config.resamples} draws of the train images"
    )
    with writing(out, KIND, inputs, config=config.model_dump(mode="json")) as folder:
        for name, table in ((RUNS, found.runs), (COMPARISON, found.comparison), (CURVE, found.curve)):
            table.to_csv(folder / name, index=False, float_format="%.8g", lineterminator="\n")
        draw_study(panels, caption, found.measured, folder / FIGURE)
