"""The formats of a table of answers, by the name of its file: parquet, CSV, or one JSON object on each line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Write = Callable[[pa.Table], None]


@contextmanager
def _parquet(file: Path, schema: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield writer.write_table


@contextmanager
def _csv(file: Path, schema: pa.Schema) -> Iterator[Write]:
    with file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(schema.names)
        yield lambda table: writer.writerows([_cell(value) for value in row.values()] for row in table.to_pylist())


@contextmanager
def _lines(file: Path, _: pa.Schema) -> Iterator[Write]:
    with file.open("w", encoding="utf-8", newline="\n") as text:
        yield lambda table: text.writelines(f"{_json(row)}\n" for row in table.to_pylist())


_FORMATS: Mapping[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _lines,
}
SUFFIXES = tuple(_FORMATS)
"""What the name of a table may end in."""


def table_writer(file: Path, schema: pa.Schema, suffix: str) -> AbstractContextManager[Write]:
    """Open a file for the rows of tables; the function that is given writes those of one.

    A cell of CSV that holds several values is JSON, and one without a value is empty.

    Args:
        file: The file.
        schema: The columns; parquet keeps its metadata.
        suffix: One of ``SUFFIXES``.
    """
    return _FORMATS[suffix](file, schema)


def _cell(value: Any) -> Any:
    return _json(value) if isinstance(value, (list, dict, bool)) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
