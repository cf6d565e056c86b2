"""Colours of part maps, variants, and names of interventions."""

import json

import numpy as np
import pytest

from protoquant.data.parts.funnybirds import fitting, interventions, part_labels, schema_of
from tests.builders.funnybirds import part_map


def test_only_exact_colours_count() -> None:
    colours = [(255, 255, 0), (255, 255, 253), (255, 255, 254), (255, 0, 1), (255, 0, 2), (0, 0, 255), (0, 255, 1)]
    others = [(0, 255, 2), (170, 170, 170), (0, 0, 0), (204, 204, 207), (128, 0, 1), (85, 85, 85), (255, 255, 252)]
    labels = part_labels(np.array([colours, others], np.uint8))
    assert labels.tolist() == [[1, 2, 2, 3, 3, 4, 5], [5, 6, 0, 0, 0, 0, 0]]


def test_the_instances_of_a_part_are_one_part() -> None:
    labels = part_labels(np.asarray(part_map().convert("RGB")))
    assert np.bincount(labels.ravel()).tolist()[1:] == [4, 8, 8, 4, 8, 256 - 32]


def test_variants_and_classes_that_fit(funnybirds) -> None:
    classes, parts = (json.loads((funnybirds / f"{name}.json").read_text()) for name in ("classes", "parts"))
    schema = schema_of(classes, parts)
    assert schema.variants["1"] == {
        "beak": "beak04 yellow",
        "eye": "eye02",
        "foot": "foot03",
        "tail": "tail02 blue",
        "wing": "wing01 green",
    }
    records = json.loads((funnybirds / "dataset_train.json").read_text())
    assert [fitting(record, classes) for record in records[:3]] == [[0, 1], [0], [0]]


@pytest.mark.parametrize(("objects", "count"), [("", 0), ("3,1,2,", 3)])
def test_all_proper_subsets_and_every_object(objects, count) -> None:
    found = list(interventions({"bg_objects": objects}, "test/7/000071.png"))
    folder = "test_interventions/7/000071"
    assert found[0] == ("parts", "beak+eye+foot+tail+wing", f"{folder}/body_.png")
    assert ("parts", "eye+tail", f"{folder}/body_beak_foot_wing.png") in found
    assert [what[:2] for what in found[31:]] == [("object", str(number)) for number in range(count)]
    assert len({path for _, _, path in found}) == 31 + count
