"""Parts of a table: whole or not, and joined or not at all."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from protoquant.model.folder import Bad
from protoquant.serving.bulk.answer_table import SCHEMA, AnswerCounts, error_row, join, whole, write_rows


def rows(*names: str) -> list[dict[str, object]]:
    return [error_row(Bad(name, "truncated", "is a PNG that ends early")) for name in names]


def test_a_part_is_whole_with_all_its_rows_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "0.parquet"
    assert not whole(file, 0)
    write_rows(rows("a", "b", "c"), file)
    assert [whole(file, count) for count in (2, 3, 4)] == [False, True, False]
    table = pq.read_table(file)
    pq.write_table(table.drop_columns("error"), file)
    assert not whole(file, 3)
    file.write_bytes(b"half")
    assert not whole(file, 3)


def test_parts_are_joined_in_order_and_counted(tmp_path: Path) -> None:
    parts = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    write_rows(rows("b", "a"), parts[0])
    write_rows(rows("c"), parts[1])
    out = tmp_path / "out.parquet"
    assert join(parts, out, {"protoquant.top": "3"}) == AnswerCounts(3, {"truncated": 3}, 0)
    table = pq.read_table(out)
    assert table["image"].to_pylist() == ["b", "a", "c"]
    assert table.schema.metadata[b"protoquant.top"] == b"3"


def test_a_join_that_breaks_off_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    part, out = tmp_path / "0.parquet", tmp_path / "out.parquet"
    write_rows(rows("a"), part)
    out.write_bytes(b"older")
    with pytest.raises(OSError, match=r"1\.parquet"):
        join([part, tmp_path / "1.parquet"], out, {})
    assert out.read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.parquet", "out.parquet"]


def test_the_name_of_the_file_decides_the_format(tmp_path: Path) -> None:
    part = tmp_path / "0.parquet"
    seen = {"image": 'a, "b".png', "label": 1, "probability": 0.5, "abstains": False, "contributions": []}
    write_rows([seen, *rows("ä")], part)
    joined = {suffix: tmp_path / f"out{suffix}" for suffix in (".csv", ".jsonl", ".CSV")}
    for out in joined.values():
        assert join([part], out, {"protoquant.top": "3"}) == AnswerCounts(2, {"truncated": 1}, 0)
    wanted = pq.read_table(part).to_pylist()
    assert [json.loads(line) for line in joined[".jsonl"].read_text(encoding="utf-8").splitlines()] == wanted
    with joined[".csv"].open(encoding="utf-8", newline="") as file:
        held = list(csv.DictReader(file))
    assert list(held[0]) == SCHEMA.names
    assert [row["image"] for row in held] == ['a, "b".png', "ä"]
    assert [held[0][name] for name in ("label", "probability", "abstains", "contributions", "error")] == (
        ["1", "0.5", "false", "[]", ""]
    )
    assert held[1]["error"] == "truncated: is a PNG that ends early"
    assert joined[".CSV"].read_bytes() == joined[".csv"].read_bytes()
