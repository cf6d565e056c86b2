"""FunnyBirds in its published layout, and each way in which a copy can be wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from protoquant.core.errors import DataError
from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.parts.labels import unpack_labels
from protoquant.data.readers.funnybirds import read
from tests.builders.funnybirds import PARTS, write_funnybirds

MINI = Path(__file__).parents[4] / "shared/data/funnybirds-mini"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_funnybirds(tmp_path / "FunnyBirds")


def listed(root: Path, **options: bool):
    config = PrepareConfig(reader="funnybirds", **options)
    return read(root, into=root.parent / "into", config=config, workers=1, on_event=ignore)


def test_images_and_masks(root) -> None:
    listing = listed(root)
    assert listing.official
    assert (listing.image_root, listing.class_names()) == (root, ("0", "1"))
    assert listing.frame["split"].value_counts().to_dict() == {"train": 10, "test": 4}
    assert "test/1/000003.png" in set(listing.frame["path"])  # numbers run through the split, not through a class
    parts = listing.parts
    assert (parts.schema.form, parts.schema.parts, parts.schema.body) == ("masks", PARTS, "body")
    assert parts.interventions is None
    lost = np.bincount(unpack_labels(parts.labels("train/0/000001.png")).ravel(), minlength=7)
    assert (lost[1], lost[2]) == (0, 8)  # the beak is lost, both eyes are there


def test_images_that_fit_several_classes_are_left_out_or_kept(root) -> None:
    listing = listed(root)
    assert [(one.image_id, one.reason.value) for one in listing.rejected] == [
        ("train/0/000000.png", "ambiguous"),
        ("train/1/000006.png", "ambiguous"),
    ]
    assert listing.rejected[0].detail == "shows no part that tells its class from 1 others, such as class 1"
    assert "train/0/000000.png" not in listing.parts.annotated
    kept = listed(root, ambiguous=True)
    assert (len(kept.frame), kept.rejected) == (16, ())


def test_interventions_are_listed(root) -> None:
    held = listed(root, interventions=True).parts.interventions
    assert (held.folder, held.drawn, len(held.frame)) == (root, False, 4 * (31 + 2))
    row = held.frame.query("image_id == 'test/1/000002.png' and removed == 'foot+wing'").iloc[0]
    assert row["path"] == "test_interventions/1/000002/body_beak_eye_tail.png"


@pytest.mark.parametrize(
    ("name", "interventions", "message"),
    [
        ("parts.json", False, r"lacks 1 file \(parts\.json\) of FunnyBirds; copy the whole data set again"),
        ("train/0/000002.png", False, r"lacks 1 file \(train/0/000002\.png\) of FunnyBirds"),
        ("test_part_map/1/000003.png", False, r"lacks 1 file \(test_part_map/1/000003\.png\)"),
        ("test_interventions/0/000001/body_.png", True, r"lacks 1 file \(test_interventions/0/000001/body_\.png\)"),
        (
            "test_interventions/0/000001/background_interventions/1.png",
            True,
            r"lacks 1 file .*background_interventions/1",
        ),
    ],
)
def test_a_missing_file_is_named(name, interventions, message, root) -> None:
    (root / name).unlink()
    with pytest.raises(DataError, match=message):
        listed(root, interventions=interventions)


def test_interventions_that_nobody_asked_for_may_be_absent(root) -> None:
    (root / "test_interventions").rename(root.parent / "away")
    assert len(listed(root).frame) == 14
    with pytest.raises(
        DataError, match=r"lacks 132 files \(test_interventions/0/000000/body_\.png, .*, \.\.\.\) of Funny"
    ):
        listed(root, interventions=True)


def test_records_that_do_not_fit_the_files_are_one_line(root) -> None:
    file = root / "dataset_test.json"
    records = json.loads(file.read_text())
    file.write_text(json.dumps(records[:-1]))
    with pytest.raises(
        DataError, match=r"holds 1 image \(test/1/000003\.png\) without a record in dataset_train\.json or"
    ):
        listed(root)
    file.write_text(json.dumps([*records[:-1], {**records[-1], "class_idx": 9}]))
    with pytest.raises(DataError, match=r"dataset_test\.json: record 3 is of class 9, which is not in classes\.json"):
        listed(root)
    file.write_text(json.dumps([*records[:-1], 7]))
    with pytest.raises(DataError, match=r"dataset_test\.json: record 3 lacks class_idx, bg_objects, beak_model, eye_"):
        listed(root)
    lacking = {key: value for key, value in records[0].items() if key != "tail_model"}
    file.write_text(json.dumps([lacking, *records[1:]]))
    with pytest.raises(DataError, match=r"dataset_test\.json: record 0 lacks tail_model; copy it again"):
        listed(root)
    file.write_text("[{")
    with pytest.raises(DataError, match=r"dataset_test\.json is not JSON \(.*\); copy it again"):
        listed(root)
    (root / "parts.json").write_text(json.dumps({"beak": []}))
    with pytest.raises(
        DataError, match=r"classes\.json does not fit .*parts\.json \(IndexError: .*\); copy both again"
    ):
        listed(root)


@pytest.mark.skipif(not MINI.is_dir(), reason="real FunnyBirds images are not here")
def test_real_images() -> None:
    listing = listed(MINI, interventions=True)
    assert listing.frame["split"].value_counts().to_dict() == {"train": 500 - 137, "test": 50}
    assert len(listing.rejected) == 137
    parts = listing.parts
    assert parts.interventions.frame.groupby("kind").size().to_dict() == {"object": 899, "parts": 31 * 50}
    tested = [name for name in parts.annotated if name.startswith("test/")]
    counts = [np.bincount(unpack_labels(parts.labels(name)).ravel(), minlength=7)[1:] for name in tested]
    assert (np.mean(counts, axis=0) > 20).all()
    assert np.mean(counts, axis=0)[-1] > 1000
