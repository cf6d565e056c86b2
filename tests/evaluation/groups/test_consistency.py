"""Consistency on a small real backbone with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from protoquant.evaluation.groups import consistency
from protoquant.evaluation.groups.consistency import TABLE, measure
from protoquant.evaluation.metrics.consistency import class_pairs
from protoquant.evaluation.subject import Subject
from tests.builders.backbones import RESNET, load_backbone
from tests.builders.bundles import bundle
from tests.builders.parts import masks_of, points_of
from tests.builders.pictures import picture
from tests.evaluation.groups.subjects import annotated

pytestmark = pytest.mark.model

PARTS = ("beak", "left eye", "right eye")
N = 7
NAMES = [f"test/{number:03d}.png" for number in range(N)]
HEAD = torch.tensor([[4.0, 2.0, 0.0], [0.0, 1.0, 3.0], [0.0, 0.0, 0.0]])


def world(folder: Path, parts, head: torch.Tensor = HEAD, dtype: torch.dtype = torch.float32) -> Subject:
    """Codes are three cells of the first picture; classes 0, 1 and 2 in turn."""
    folder.mkdir(exist_ok=True)
    backbone = load_backbone(folder, "test_resnet", input_size=RESNET.size)
    view = backbone.spec.preprocessing
    tokens = torch.cat([backbone.features(backbone.batch([picture(number, 120, 90)])).tokens for number in range(N)])
    codes = torch.nn.functional.normalize(tokens[0][[0, 2, 5]])
    made = bundle(codes, head, temperature=0.05, grid=backbone.grid, backbone=backbone.spec)
    made = annotated(folder, made, {"test": (tokens.to(dtype), torch.arange(N) % 3)}, parts, size=(120, 90))
    made.__dict__["backbone"] = backbone
    assert view.crop == (64, 96)
    return made


EVERYWHERE = points_of({name: {0: (60.0, 45.0), 2: (10.0, 10.0)} for name in NAMES}, PARTS)


def test_numbers_are_of_pairs_of_class_and_prototype(tmp_path: Path) -> None:
    found = measure(world(tmp_path, EVERYWHERE), "test")
    table = found.tables[TABLE]
    assert table[["class", "code", "images"]].to_numpy().tolist() == [
        ["auk", 0, 3], ["auk", 1, 3], ["bee-eater", 2, 2], ["bee-eater", 1, 2],
    ]  # fmt: skip
    assert found.numbers["consistent"]["n"] == 4
    assert found.numbers["consistent"]["value"] == float((table["share"] >= 0.8).mean())
    assert found.numbers["stable"]["value"] == pytest.approx(table["stable"].mean())


def test_noise_of_nothing_leaves_the_stored_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else stability would count the rounding of the store as noise."""
    subject = world(tmp_path, EVERYWHERE, dtype=torch.float16)
    monkeypatch.setattr(consistency, "noise_of", lambda shape, _: torch.zeros(shape))
    around = consistency._Around(subject, "test", class_pairs(subject.head), subject.part_view("test"))
    store = subject.store("test")
    for position, image_id in enumerate(store.image_ids):
        assert torch.equal(around._noisy_tokens(image_id), store.tokens([position]))


def test_a_part_everywhere_is_hit_everywhere_and_noise_leaves_it(tmp_path: Path) -> None:
    masks = masks_of(dict.fromkeys(NAMES, np.full((90, 120), 2, dtype=np.uint8)), PARTS)
    numbers = measure(world(tmp_path, masks), "test").numbers
    for name in ("consistent", "random_cells", "stable", "share"):
        assert numbers[name]["value"] == 1.0, name


def test_images_without_visible_points_or_prototypes_give_nothing_wrong(tmp_path: Path) -> None:
    numbers = measure(world(tmp_path / "one", points_of({name: {} for name in NAMES}, PARTS)), "test").numbers
    assert (numbers["consistent"]["value"], numbers["stable"]["value"]) == (0.0, 1.0)
    empty = measure(world(tmp_path / "other", points_of({}, PARTS)), "test")
    assert empty.numbers["consistent"] is None
    assert empty.tables[TABLE]["images"].tolist() == [0] * 4
    unused = measure(
        world(tmp_path / "third", EVERYWHERE, torch.tensor([[0.0] * 3, [0.0] * 3, [1.0, 0.0, 0.0]])), "test"
    )
    assert unused.tables[TABLE]["class"].tolist() == ["crane"]
