"""Answers to corrupted images: the table by hand, and the way through a small real backbone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from protoquant.core.events import Event
from protoquant.evaluation.changes.corruptions import CORRUPTIONS
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups.corruptions import KINDS, TABLE, measure, measured
from protoquant.evaluation.subject import Subject
from tests.builders.backbones import load_backbone
from tests.builders.bundles import bundle
from tests.builders.pictures import picture
from tests.evaluation.groups.subjects import subject

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("corruptions")
    backbone = load_backbone(folder, "test_resnet", input_size=(64, 96))
    codes = torch.nn.functional.normalize(backbone.features(backbone.batch([picture(0)])).tokens[0][:4])
    made = bundle(codes, torch.rand(3, 4), temperature=0.05, grid=backbone.grid, backbone=backbone.spec)
    return subject(folder, made, backbone, EvaluateConfig(corruption_images=3, resamples=100))


def test_numbers_by_hand(held: Subject) -> None:
    """Two images of class 1. The first keeps its right answer but for the first kind; the second is always wrong."""
    predicted = np.ones((2, 1 + len(KINDS)), dtype=np.int64)
    predicted[0, 1:6] = 0
    predicted[1] = 2
    found = measured(held, predicted, np.array([1, 1]))
    kinds = len(CORRUPTIONS)
    assert found.numbers["clean"]["value"] == 0.5
    assert found.numbers["top1"]["value"] == pytest.approx(0.5 * (kinds - 1) / kinds)
    assert found.numbers["kept"]["value"] == pytest.approx(0.5 * (kinds - 1) / kinds + 0.5)
    assert [found.numbers["kinds"][kind]["value"] for kind in CORRUPTIONS] == [0.0, *[0.5] * (kinds - 1)]
    table = found.tables[TABLE]
    assert table["top1"].tolist() == [0.0] * 5 + [0.5] * (len(KINDS) - 5)
    assert table["kept"].tolist() == [0.5] * 5 + [1.0] * (len(KINDS) - 5)
    assert table.columns.tolist() == ["kind", "severity", "n", "top1", "kept"]


def test_the_whole_way_is_the_same_each_time(held: Subject) -> None:
    one, two = measure(held, "test"), measure(held, "test")
    assert one.tables[TABLE].equals(two.tables[TABLE])
    assert one.numbers == two.numbers
    assert one.tables[TABLE]["n"].tolist() == [3] * len(KINDS)


def test_no_image_asked_for_is_said_in_one_line(held: Subject, tmp_path: Path) -> None:
    said: list[Event] = []
    silent = subject(tmp_path, held.bundle, held.backbone, EvaluateConfig(), on_event=said.append)
    assert measure(silent, "test").numbers == {}
    assert [event.text for event in said] == ["evaluate.corruption_images is 0: corruptions are not measured"]
