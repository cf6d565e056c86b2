"""Answers to corrupted images and their explanations: the table by hand, and the way through a small real backbone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from protoquant.core.events import Event
from protoquant.evaluation.changes.corruptions import CORRUPTIONS
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups import corruptions as module
from protoquant.evaluation.groups.corruptions import KINDS, TABLE, measure, measured
from protoquant.evaluation.metrics.stability import MEASURES
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
    head = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    made = bundle(codes, head, temperature=0.05, grid=backbone.grid, backbone=backbone.spec)
    return subject(folder, made, backbone, EvaluateConfig(corruption_images=3, resamples=100))


def test_numbers_by_hand(held: Subject) -> None:
    """Two images. The first keeps its right answer but for the first kind; the second keeps a wrong one.

    The first prototype of the first image stays in severity 1 of each kind, its first three nowhere; the second image
    keeps all.
    """
    right = np.ones((2, 1 + len(KINDS)), dtype=bool)
    right[0, 1:6] = False
    right[1] = False
    kept = np.ones((2, len(KINDS), len(MEASURES)))
    kept[0, :5, MEASURES.index("prediction")] = 0.0
    kept[0, :, MEASURES.index("top_prototype")] = [float(severity == 1) for _, severity in KINDS]
    kept[0, :, MEASURES.index("top3")] = 0.0
    found = measured(held, right, kept)
    kinds = len(CORRUPTIONS)
    assert found.numbers["clean"]["value"] == 0.5
    assert found.numbers["top1"]["value"] == pytest.approx(0.5 * (kinds - 1) / kinds)
    assert found.numbers["kept"]["value"] == pytest.approx(0.5 * (kinds - 1) / kinds + 0.5)
    assert [found.numbers["kinds"][kind]["value"] for kind in CORRUPTIONS] == [0.0, *[0.5] * (kinds - 1)]
    first, three = found.numbers["top_prototype"], found.numbers["top3"]
    assert (first["value"], first["n"], first["low"], first["high"]) == (pytest.approx(0.6), 2, 0.2, 1.0)
    assert (three["value"], three["n"]) == (0.5, 2)
    table = found.tables[TABLE]
    assert table["top_prototype"].tolist() == [1.0, 0.5, 0.5, 0.5, 0.5] * kinds
    assert table["top3"].tolist() == [0.5] * len(KINDS)
    assert table["top1"].tolist() == [0.0] * 5 + [0.5] * (len(KINDS) - 5)
    assert table["kept"].tolist() == [0.5] * 5 + [1.0] * (len(KINDS) - 5)
    assert table.columns.tolist() == ["kind", "severity", "n", "top1", "kept", "top_prototype", "top3"]


def test_the_whole_way_is_the_same_each_time(held: Subject) -> None:
    one, two = measure(held, "test"), measure(held, "test")
    assert one.tables[TABLE].equals(two.tables[TABLE])
    assert one.numbers == two.numbers
    assert one.tables[TABLE]["n"].tolist() == [3] * len(KINDS)


def test_a_corruption_that_changes_nothing_keeps_answer_and_prototypes(
    held: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0.0 < measure(held, "test").numbers["top_prototype"]["value"] < 1.0
    monkeypatch.setattr(module, "CORRUPTIONS", dict.fromkeys(CORRUPTIONS, lambda view, *_: view))
    same = measure(held, "test").numbers
    assert [same[name]["value"] for name in ("kept", "top_prototype", "top3")] == [1.0] * 3


def test_no_image_asked_for_is_said_in_one_line(held: Subject, tmp_path: Path) -> None:
    said: list[Event] = []
    silent = subject(tmp_path, held.bundle, held.backbone, EvaluateConfig(), on_event=said.append)
    assert measure(silent, "test").numbers == {}
    assert [event.text for event in said] == ["evaluate.corruption_images is 0: corruptions are not measured"]
