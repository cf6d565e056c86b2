"""Write answers as rows of a table, one row per image, always with the same columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from protoquant.core.files import written_aside
from protoquant.model.answer import ANSWER, Answer, Kind
from protoquant.model.folder import Bad
from protoquant.serving.bulk.table_formats import table_writer


def _arrow(kind: Kind) -> pa.DataType:
    if isinstance(kind, dict):
        return pa.struct([(name, _arrow(inner)) for name, inner in kind.items()])
    if isinstance(kind, list):
        return pa.list_(_arrow(kind[0]))
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}[kind]


SCHEMA = pa.schema([(name, _arrow(kind)) for name, kind in {"image": str, **ANSWER, "error": str}.items()])


@dataclass(frozen=True)
class AnswerCounts:
    """Totals over the rows.

    Attributes:
        images: Number of rows.
        errors: Number of images that could not be read, by kind of fault in alphabetical order.
        abstentions: Number of images for which the model abstains.
    """

    images: int
    errors: dict[str, int]
    abstentions: int


def answer_row(image: str, answer: Answer) -> dict[str, Any]:
    """The row of an image that was answered."""
    return {"image": image, **answer.to_dict(), "error": None}


def error_row(bad: Bad) -> dict[str, Any]:
    """The row of an image that cannot be read; all fields but its name and the error are null."""
    return {**dict.fromkeys(SCHEMA.names), "image": bad.name, "error": str(bad)}


def write_rows(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Write rows aside and move them into place, so that a killed process leaves no partial file under the name.

    Raises:
        OSError: The disk is full.
    """
    with written_aside(file, file.with_suffix(".writing")) as aside:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), aside, compression="zstd")


def whole(file: Path, rows: int) -> bool:
    """Whether a file can be read and holds exactly this many rows of the table."""
    try:
        held = pq.read_table(file)
    except (OSError, pa.ArrowException):
        return False
    return bool(held.num_rows == rows and held.schema.equals(SCHEMA))


def join(parts: Iterable[Path], out: Path, about: dict[str, str]) -> AnswerCounts:
    """Concatenate the rows of several files into one, holding one file at a time in memory.

    Args:
        parts: The parquet files, in order.
        out: The file to write, in the format of its name; an older one is replaced when the new one is complete.
        about: Metadata of a parquet file (keys and values in its schema); the other formats have none.

    Raises:
        OSError: The disk is full.
    """
    schema = SCHEMA.with_metadata(about)
    kinds: Counter[str] = Counter()
    images = abstentions = 0
    with (
        written_aside(out, out.with_name(f".{out.name}.writing")) as aside,
        table_writer(aside, schema, out.suffix.lower()) as write,
    ):
        for part in parts:
            held = pq.read_table(part).replace_schema_metadata(about)
            write(held)
            images += held.num_rows
            abstentions += held["abstains"].to_pylist().count(True)
            kinds.update(error.split(":", 1)[0] for error in held["error"].to_pylist() if error is not None)
    return AnswerCounts(images, dict(sorted(kinds.items())), abstentions)
