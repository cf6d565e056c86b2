from pathlib import Path

import pytest
import torch

from protoquant.evaluation.groups.distinctness import TABLE, measure
from tests.builders.bundles import bundle
from tests.builders.parts import points_of
from tests.builders.tokens import turned
from tests.evaluation.groups.subjects import annotated

PATCHES = [
    (0, 0, "a.png", 0, 0, 1, 0.9), (0, 1, "b.png", 0, 1, 1, 0.8),
    (1, 0, "a.png", 0, 0, 1, 0.9), (1, 1, "b.png", 0, 1, 1, 0.8),
    (3, 0, "a.png", 0, 1, 0, 0.9), (3, 1, "c.png", 0, 1, 1, 0.8),
]  # fmt: skip


def test_codes_and_patches_that_are_alike(tmp_path: Path) -> None:
    made = bundle(
        turned(0, 10, 20, 100),
        torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]),
        classes=("auk", "crane"),
        patches=PATCHES,
    )
    found = measure(annotated(tmp_path, made, {}, points_of({}, ("beak",))), "test")
    assert found.numbers["alike_pairs"] == 1  # codes 0 and 1; code 2 is no prototype
    assert found.numbers["alike"]["value"] == pytest.approx(2 / 3)
    assert found.numbers["sharing"]["value"] == pytest.approx(2 / 3)
    assert found.numbers["shared_patches"]["value"] == pytest.approx(2 / 3)
    assert found.tables[TABLE]["code"].tolist() == [0, 1, 3]
    assert found.tables[TABLE]["shared_patches"].tolist() == [1.0, 1.0, 0.0]


def test_one_prototype_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    made = bundle(turned(0, 10), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), classes=("auk", "crane"))
    found = measure(annotated(tmp_path, made, {}, points_of({}, ("beak",))), "test")
    assert found.numbers["nearest_other"] is None
    assert found.numbers["alike_pairs"] == 0
