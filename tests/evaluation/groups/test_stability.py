"""Stability of a split: all its images by default, and intervals by image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups import stability
from protoquant.evaluation.metrics.stability import MEASURES, PERTURBATIONS, Stability
from tests.builders.backbones import load_backbone
from tests.builders.bundles import bundle
from tests.builders.pictures import picture
from tests.evaluation.groups.subjects import subject

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("count", "n"), [(None, 5), (2, 2)])
def test_all_images_are_measured_unless_fewer_are_asked_for(tmp_path: Path, count: int | None, n: int) -> None:
    backbone = load_backbone(tmp_path, "test_resnet", input_size=(64, 96))
    codes = torch.nn.functional.normalize(backbone.features(backbone.batch([picture(0)])).tokens[0][:4])
    made = bundle(codes, torch.rand(3, 4), temperature=0.05, grid=backbone.grid, backbone=backbone.spec)
    config = EvaluateConfig(resamples=100, stability_images=count)
    found = stability.measure(subject(tmp_path, made, backbone, config), "test")
    assert [found.numbers[name]["n"] for name in MEASURES] == [n] * len(MEASURES)
    assert found.tables["stability.csv"]["n"].tolist() == [n] * len(PERTURBATIONS)
    assert EvaluateConfig().stability_images is None


def test_intervals_are_by_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two images one keeps all under every change: of resampled images both or none do, of pairs hardly ever."""
    values = np.zeros((2, len(PERTURBATIONS), len(MEASURES)))
    values[0] = 1.0
    monkeypatch.setattr(stability, "measure_stability", lambda *_, **__: Stability(values))
    made = bundle(torch.eye(4), torch.rand(3, 4))
    held = subject(tmp_path, made, None, EvaluateConfig(resamples=200))
    first = stability.measure(held, "test").numbers["top_prototype"]
    assert (first["value"], first["n"], first["low"], first["high"]) == (0.5, 2, 0.0, 1.0)
