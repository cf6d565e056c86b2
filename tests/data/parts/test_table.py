"""The artifact of parts, as its strict reader sees it."""

from pathlib import Path

import pandas as pd
import pytest

from protoquant.core.artifacts import artifact_digest, write_json
from protoquant.core.errors import ArtifactError, DataError
from protoquant.data.parts.table import PartTable


def test_points_are_read_split_by_split(cub, prepared) -> None:
    table = prepared(cub, reader="cub")
    (table.parts / "train" / "points.parquet").unlink()
    test = table.split("test")
    assert len(test.image_ids) == 4
    assert list(test.points.columns) == ["image_id", "part", "x", "y"]
    assert len(test.points) == 4 * 14  # the tail never shows
    assert test.points["part"].unique().tolist() == [n for n in range(15) if n != 13]
    with pytest.raises(ArtifactError, match=r"train/points\.parquet is missing"):
        _ = table.split("train").image_ids
    with pytest.raises(DataError, match=r"has no mask of parts in the split test"):
        test.labels(test.image_ids[0])
    with pytest.raises(DataError, match=r"unknown split 'tset'; did you mean 'test'"):
        table.split("tset")


def test_masks_and_interventions_are_read_and_checked(funnybirds, prepared) -> None:
    test = prepared(funnybirds, reader="funnybirds", interventions=True).split("test")
    assert test.labels(test.image_ids[0]).shape == (32, 32)
    rows = test.interventions
    assert rows.groupby(["image_id", "kind"]).size().to_dict() == {
        (image_id, kind): count for image_id in test.image_ids for kind, count in (("parts", 31), ("object", 2))
    }
    assert test.intervention(rows["path"][0]).size == (32, 32)
    assert len(test.points) == 0
    with pytest.raises(DataError, match="no mask of parts"):
        test.labels("absent.png")


def test_an_intervention_that_changed_since_is_named(funnybirds, prepared, tmp_path) -> None:
    test = prepared(funnybirds, reader="funnybirds", interventions=True).split("test")
    moved = PartTable.open(test.table.parts, tmp_path)
    path = test.interventions["path"][0]
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes((funnybirds / path).read_bytes() + b" ")
    with pytest.raises(DataError, match=r"test_interventions/0/000000/.*png changed since prepare: its digest differs"):
        moved.split("test").intervention(path)


def test_data_without_parts_has_an_empty_artifact(prepared, fill, tmp_path) -> None:
    for number, name in enumerate(("cat", "dog")):
        fill(tmp_path / "data" / name, 6, 100 * number)
    table = prepared(tmp_path / "data", reader="image_folder")
    assert (table.schema.form, table.schema.parts) == (None, ())
    for split in ("train", "validation", "test"):
        held = table.split(split)
        assert (held.image_ids, len(held.points), len(held.interventions)) == ((), 0, 0)


def test_the_bytes_do_not_depend_on_workers(funnybirds, prepared) -> None:
    first = artifact_digest(prepared(funnybirds, reader="funnybirds", interventions=True, workers=1).parts)
    assert artifact_digest(prepared(funnybirds, reader="funnybirds", interventions=True, workers=3).parts) == first


def test_what_is_no_artifact_of_parts_is_one_line(cub, prepared, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no parts at .*absent: schema\.json is missing; run the stage"):
        PartTable.open(tmp_path / "absent", cub)
    table = prepared(cub, reader="cub")
    write_json(table.parts / "schema.json", {**table.schema.plain(), "parts": ["beak"]})
    with pytest.raises(ArtifactError, match=r"schema\.json is damaged: it is not the split's; run prepare again"):
        _ = PartTable.open(table.parts, cub).split("test").points


def test_a_table_of_other_columns_is_refused(cub, prepared) -> None:
    table = prepared(cub, reader="cub")
    file = table.parts / "test" / "points.parquet"
    pd.DataFrame({"image_id": ["a"], "part": ["0"]}).to_parquet(file)
    with pytest.raises(ArtifactError, match="is damaged"):
        _ = table.split("test").points
