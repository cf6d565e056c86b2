"""What is kept of the annotations, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from protoquant.core.artifacts import artifact_digest, read_json
from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent
from protoquant.data.parts.labels import pack_labels
from protoquant.data.parts.listing import Interventions, PartListing
from protoquant.data.parts.schema import PartSchema
from protoquant.data.parts.table import PartTable
from protoquant.data.parts.writer import write_parts
from tests.builders.images import write_images

SIZE = 8
IDS = ["train/000.png", "validation/000.png", "test/000.png"]


class Told(list):
    def __call__(self, event):
        if isinstance(event, MessageEvent):
            self.append((event.level, event.text))


@pytest.fixture
def write(tmp_path):
    """Write annotations of three images of 8 x 8 pixels, one in each split."""
    images = write_images(tmp_path / "images", {"train": 1, "validation": 1, "test": 1})
    frame = pd.DataFrame({"image_id": IDS, "split": [name.partition("/")[0] for name in IDS]})

    def make(given, on_event):
        write_parts(
            tmp_path / "parts",
            given,
            frame.assign(width=SIZE, height=SIZE),
            beside=images,
            workers=2,
            on_event=on_event,
        )
        return PartTable.open(tmp_path / "parts", tmp_path)

    (tmp_path / "parts").mkdir()
    return make


def masks(of):
    return PartListing(PartSchema("masks", ("beak",), "body"), IDS, labels=lambda name: pack_labels(of(name)))


def test_what_a_stage_depends_on_is_the_train_digest_or_the_same_for_all_data(write) -> None:
    told = []
    for value in (0, 1):
        parts = write(masks(lambda _, value=value: np.full((SIZE, SIZE), value, dtype=np.uint8)), Told()).parts
        told.append([read_json(parts / f"seen-{name}.json") for name in ("false", "true")])
        assert told[-1] == [{}, {"train": artifact_digest(parts / "train")}]
    assert told[0] != told[1]


def test_points_outside_and_those_of_images_left_out_are_dropped(write) -> None:
    rows = [
        (IDS[0], 1, 8.0, 0.0),
        (IDS[0], 0, 0.0, 8.0),
        (IDS[0], 0, 8.5, 1.0),
        (IDS[2], 1, 3.0, -1.0),
        ("quarantined.png", 0, 99.0, 99.0),
    ]
    points = pd.DataFrame(rows, columns=["image_id", "part", "x", "y"])
    told = Told()
    table = write(PartListing(PartSchema("points", ("beak", "tail")), [*IDS, "quarantined.png"], points), told)
    assert table.split("train").points.values.tolist() == [[IDS[0], 0, 0.0, 8.0], [IDS[0], 1, 8.0, 0.0]]
    assert (len(table.split("test").points), table.split("test").image_ids) == (0, (IDS[2],))
    text = "2 of 4 points lie outside of their image and are left out, such as 'tail' of test/000.png at (3, -1)"
    assert told == [("warning", text)]


def test_empty_masks_are_counted(write) -> None:
    told = Told()
    full = np.ones((SIZE, SIZE), np.uint8)
    table = write(masks(lambda name: full * 0 if name == IDS[1] else full), told)
    assert table.split("test").labels(IDS[2]).sum() == 64
    text = "empty masks: 1 (the object is out of view or hidden), such as that of validation/000.png"
    assert told == [("warning", text)]


def test_a_mask_of_another_size_is_refused(write) -> None:
    with pytest.raises(
        DataError, match=r"the mask of test/000\.png has 9 x 8 pixels, the image test/000\.png 8 x 8; th"
    ):
        write(masks(lambda name: np.ones((SIZE, SIZE + (name == IDS[2])), np.uint8)), Told())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((9, 8), r"the intervention a\.png has 9 x 8 pixels, the image test/000\.png 8 x 8; they must be of one size"),
        (b"", r"a\.png is empty \(0 bytes\)"),
        (None, r"a\.png is missing"),
    ],
)
def test_an_intervention_that_cannot_be_used_is_named(data, message, write, tmp_path: Path) -> None:
    if isinstance(data, bytes):
        (tmp_path / "a.png").write_bytes(data)
    elif data:
        Image.new("RGB", data).save(tmp_path / "a.png")
    rows = pd.DataFrame([(IDS[2], "object", "0", "a.png")], columns=["image_id", "kind", "removed", "path"])
    given = masks(lambda _: np.ones((SIZE, SIZE), np.uint8))
    held = PartListing(given.schema, IDS, labels=given.labels, interventions=Interventions(rows, tmp_path))
    with pytest.raises(DataError, match=message):
        write(held, Told())
