"""A world in which one prototype lies on the bird and the other beside it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from protoquant.evaluation.groups.evidence import TABLE, measure
from protoquant.evaluation.subject import Subject
from tests.builders.bundles import bundle
from tests.builders.parts import masks_of
from tests.builders.specs import preprocessing, spec
from tests.evaluation.groups.subjects import annotated

CODES = torch.eye(4)[:2]


def bird(beak: bool = True) -> np.ndarray:
    """A body in the left upper cell of 2 x 3, and perhaps a beak at its corner."""
    labels = np.zeros((64, 96), dtype=np.uint8)
    labels[:30, :30] = 3
    if beak:
        labels[:10, :10] = 1
    return labels


def world(folder: Path) -> Subject:
    """Code 0 is in the first cell, code 1 in the last; both speak for both classes."""
    tokens = torch.eye(4)[3].repeat(2, 6, 1)
    tokens[:, 0], tokens[:, 5] = CODES[0], CODES[1]
    patches = [
        (0, 0, "train/000.png", 0, 0, 0, 0.9), (0, 1, "train/001.png", 1, 0, 0, 0.8),
        (1, 0, "train/000.png", 0, 1, 2, 0.9), (1, 1, "train/001.png", 1, 0, 0, 0.8),
    ]  # fmt: skip
    made = bundle(
        CODES,
        torch.tensor([[3.0, 1.0], [1.0, 0.5]]),
        classes=("auk", "crane"),
        backbone=spec(view=preprocessing((64, 96))),
        temperature=0.01,
        patches=patches,
    )
    labels = {"train/000.png": bird(), "train/001.png": bird(beak=False)}
    labels |= {"test/000.png": bird(), "test/001.png": np.zeros((64, 96), dtype=np.uint8)}
    split = (tokens, torch.tensor([0, 1]))
    return annotated(folder, made, {"train": split, "test": split}, masks_of(labels, ("beak", "eye")))


def test_evidence_by_hand(tmp_path: Path) -> None:
    found = measure(world(tmp_path), "test")
    cell = found.numbers["cell"]
    # Of four patches one is off; prototype 1 has it and one of 900 of 1024 pixels.
    assert cell["patches_off"]["value"] == 0.25
    assert cell["prototypes_off"]["value"] == 0.0
    assert cell["object_share"]["value"] == pytest.approx(0.75 * 900 / 1024)
    # The beak is visible in one training image: prototype 0 holds it there, prototype 1 does not.
    assert cell["same_part"]["value"] == 0.5
    # 3 of 4 come from the bird in one test image, nothing in the other, whose labels are empty.
    assert cell["off"]["value"] == pytest.approx((1 + 4) / 8, abs=1e-3)
    assert cell["off"]["n"] == 2
    assert cell["random_off"]["value"] == pytest.approx((5 / 6 + 1) / 2)
    table = found.tables[TABLE].set_index(["box", "code"])
    assert table.loc[("cell", 1), ["patches", "patches_off", "part"]].tolist() == [2, 1, "beak"]
    assert table.loc[("fixed", 0), "object_share"] == 1.0


def test_patches_of_images_without_masks_are_left_out(tmp_path: Path) -> None:
    subject = world(tmp_path)
    labels = {"train/001.png": bird(), "test/000.png": bird()}
    parts = masks_of(labels, ("beak", "eye"))
    tokens = subject.store("train").tokens([0, 1])
    again = annotated(tmp_path / "few", subject.bundle, {"train": (tokens, torch.tensor([0, 1]))} | {
        "test": (tokens, torch.tensor([0, 1]))
    }, parts)  # fmt: skip
    table = measure(again, "test").tables[TABLE].set_index(["box", "code"])
    assert table["patches"].tolist() == [1, 1, 1, 1]
