"""Cells on the object, by masks made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError, ConfigError, DataError
from protoquant.data.parts.table import PartTable
from protoquant.data.table import ImageTable
from protoquant.evaluation.metrics.evidence import off
from protoquant.evaluation.places.part_view import PartView
from protoquant.evaluation.places.placed_parts import place_split
from protoquant.features.object_cells import object_cells, open_object_cells, save_object_cells, train_object_cells
from protoquant.features.store.store import FeatureStore
from tests.builders.images import write_images
from tests.builders.parts import masks_of, points_of, write_no_parts, write_parts_of
from tests.builders.pictures import picture
from tests.builders.specs import preprocessing, spec
from tests.builders.tokens import write_split

NAMES = ("train/000.png", "train/001.png")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two train images of 20 x 20 pixels, and one of validation."""
    sizes = {"train": 2, "validation": 1, "test": 0}
    return write_images(tmp_path / "images", sizes, draw=lambda number: picture(number, 20, 20))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Features of 2 x 2 cells that see the images as they are."""
    backbone = spec(view=preprocessing((20, 20)))
    return write_split(
        tmp_path / "features" / "train", torch.ones(2, 4, 3), torch.arange(2), grid=(2, 2), backbone=backbone
    )


def masks() -> dict[str, np.ndarray]:
    """Of cells of 100 pixels, nine and ten of a part, one of the body, and half part, half body."""
    first, second = np.zeros((20, 20), dtype=np.uint8), np.zeros((20, 20), dtype=np.uint8)
    first[0, :9], first[0, 10:], first[19, 19] = 1, 1, 2
    second[10:15, :10], second[15:, :10] = 1, 2
    return dict(zip(NAMES, (first, second), strict=True))


def test_a_cell_is_on_the_object_where_parts_and_body_fill_a_tenth_of_it(tmp_path, images, store) -> None:
    parts = write_parts_of(tmp_path / "parts", images, masks_of(masks(), ("beak",)))
    cells, digest = train_object_cells(parts, store)
    assert cells.tolist() == [[False, True, False, False], [False, False, True, False]]
    assert digest == artifact_digest(parts / "train")


@pytest.mark.parametrize("view", [preprocessing((28, 28), (40, 40), "center"), preprocessing((30, 20), mode="border")])
def test_they_are_the_cells_that_evidence_counts(tmp_path, images, view) -> None:
    table = PartTable.open(write_parts_of(tmp_path / "parts", images, masks_of(masks(), ("beak",))), tmp_path)
    seen = PartView.open(table.split("train"), ImageTable.open(images, tmp_path).split("train"), view)
    for grid in ((2, 2), (3, 7)):
        share = place_split(seen, NAMES, grid).boxes["cell"].object_share
        found = object_cells(table.split("train"), NAMES, view, grid)
        assert 0 < found.sum() < found.numel()
        assert np.array_equal(found.numpy(), ~off(share))


def test_data_without_masks_is_refused(tmp_path, images, store) -> None:
    points = write_parts_of(tmp_path / "points", images, points_of({NAMES[0]: {0: (1.0, 1.0)}}, ("beak",)))
    for parts, brought in ((points, "points alone"), (write_no_parts(tmp_path / "none"), "no parts")):
        with pytest.raises(
            ConfigError, match=rf"seeding_on_object must be false .* brought {brought}; set it to false"
        ):
            train_object_cells(parts, store)


def test_an_image_without_a_mask_is_named(tmp_path, images, store) -> None:
    few = {NAMES[0]: masks()[NAMES[0]]}
    parts = write_parts_of(tmp_path / "parts", images, masks_of(few, ("beak",)))
    with pytest.raises(DataError, match=r"1 of 2 train images have no mask of parts, such as train/001.png; add"):
        train_object_cells(parts, store)


def test_masks_of_other_images_are_refused(tmp_path, images, store) -> None:
    parts = write_parts_of(tmp_path / "parts", images, masks_of(masks(), ("beak",)))
    train_object_cells(parts, replace(store, inputs={"images": artifact_digest(images / "train")}))
    with pytest.raises(ArtifactError, match=r"was extracted from other images than .* annotates; run extract again"):
        train_object_cells(parts, replace(store, inputs={"images": "0" * 64}))


def test_masks_of_validation_are_not_read(tmp_path, images, store) -> None:
    parts = write_parts_of(tmp_path / "parts", images, masks_of(masks(), ("beak",)))
    for split in ("validation", "test"):
        (parts / split / "annotated.parquet").write_bytes(b"")
    train_object_cells(parts, store)


def test_cells_come_back(tmp_path) -> None:
    cells = torch.tensor([[True, False], [False, False]])
    assert open_object_cells(tmp_path) is None
    save_object_cells(tmp_path, cells)
    found = open_object_cells(tmp_path)
    assert found is not None
    assert torch.equal(found, cells)
