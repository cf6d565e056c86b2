"""Artifacts of part annotations, as prepare writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from protoquant.core.artifacts import write_json, writing
from protoquant.core.events import ignore
from protoquant.data.parts.labels import pack_labels
from protoquant.data.parts.listing import POINTS, PartListing
from protoquant.data.parts.schema import PartSchema, mirrored_by_name
from protoquant.data.parts.table import KIND, SCHEMA
from protoquant.data.parts.writer import write_parts
from protoquant.data.table import ImageTable


def write_no_parts(out: Path) -> Path:
    """The artifact of data without parts."""
    with writing(out, KIND) as folder:
        write_json(folder / SCHEMA, PartSchema().plain())
    return out


def write_parts_of(out: Path, images: Path, listing: PartListing) -> Path:
    """The artifact of parts for an artifact of images that has all splits, written as prepare does."""
    with writing(out, KIND) as folder:
        frame = ImageTable(images, images).frame
        write_parts(folder, listing, frame, beside=images, workers=1, on_event=ignore)
    return out


def points_of(points: Mapping[str, Mapping[int, tuple[float, float]]], parts: Sequence[str]) -> PartListing:
    """Points by image and part; an image without any is annotated too."""
    rows = [(image_id, part, x, y) for image_id, found in points.items() for part, (x, y) in found.items()]
    frame = pd.DataFrame(rows, columns=list(POINTS)).astype(POINTS)
    schema = PartSchema("points", tuple(parts), mirrored=mirrored_by_name(parts))
    return PartListing(schema, tuple(points), points=frame)


def masks_of(labels: Mapping[str, np.ndarray], parts: Sequence[str], body: str | None = "body") -> PartListing:
    """Label maps by image."""
    schema = PartSchema("masks", tuple(parts), body)
    return PartListing(schema, tuple(labels), labels=lambda image_id: pack_labels(labels[image_id]))
