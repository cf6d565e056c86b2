"""Artifacts of part annotations, as prepare writes them."""

from pathlib import Path

from protoquant.core.artifacts import write_json, writing
from protoquant.data.parts.schema import PartSchema
from protoquant.data.parts.table import KIND, SCHEMA


def write_no_parts(out: Path) -> Path:
    """The artifact of data without parts."""
    with writing(out, KIND) as folder:
        write_json(folder / SCHEMA, PartSchema().plain())
    return out
