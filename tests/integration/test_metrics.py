"""All metric groups on one trained workspace, whose images have masks of parts: every metric of the list is there."""

from pathlib import Path

import pytest
import torch

from protoquant.core.events import ignore
from protoquant.core.workspace import Workspace
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.evaluate import evaluate
from protoquant.evaluation.groups.registry import GROUPS
from protoquant.evaluation.metrics.registry import METRICS
from tests.workspaces import Job

pytestmark = pytest.mark.process


def test_every_metric_of_a_measured_group_has_its_number(job: Job, tmp_path: Path) -> None:
    space = Workspace(job.root)
    few = {"stability_images": 1, "misalignment_images": 1, "corruption_images": 1}
    numbers = evaluate(
        EvaluateConfig(metrics=tuple(GROUPS), resamples=100, purity_whole=True, **few),
        images=space.images,
        root=job.root,
        parts=space.parts,
        features=space.features,
        codebook=space.codebook,
        bundle=space.bundle,
        out=tmp_path / "evaluation",
        metrics=tmp_path / "metrics.json",
        device=torch.device("cpu"),
        seed=0,
        on_event=ignore,
    ).numbers
    # These images come without interventions; tests of the group funnybirds draw their own.
    expected = {metric.path for metric in METRICS if metric.group != "funnybirds"}
    assert {metric.path for metric in METRICS if metric.measured(numbers)} == expected
    for metric in METRICS:
        if metric.path in expected and metric.chance:
            assert metric.chance.partition(".")[0] == metric.group
            assert metric.value(numbers) is None or metric.of(numbers)
    assert set(numbers["validation"]) == {name for name in GROUPS if "validation" in GROUPS[name].splits}
