"""The annotations of parts that a reader brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from protoquant.data.parts.schema import PartSchema

POINTS = {"image_id": "str", "part": "int64", "x": "float64", "y": "float64"}
INTERVENTIONS = {"image_id": "str", "kind": "str", "removed": "str", "path": "str"}
JOIN = "+"
"""What stands between the names of parts that are removed together."""


@dataclass(frozen=True)
class Interventions:
    """Images from which parts or an object were removed.

    Attributes:
        frame: ``image_id`` (the image that was changed), ``kind`` (parts or object), ``removed`` (the names of the
            parts, sorted and joined by ``+``, or the number of the object) and ``path``, relative to ``folder``. The
            path of a drawn image begins with the folder of its split, as in ``test/robin/3/beak+eye.png``.
        folder: The folder of the files.
        drawn: Whether the reader drew the files, which then move into the artifact, or found them below the root.
    """

    frame: pd.DataFrame
    folder: Path
    drawn: bool = False


@dataclass(frozen=True)
class PartListing:
    """The parts of the images of a listing; a reader has checked that they are annotations of these images.

    Attributes:
        schema: The parts.
        annotated: Ids of the images whose parts are known, even if none of them is visible.
        points: With form points: ``image_id``, ``part`` (index), ``x`` and ``y`` in pixels of the upright image; the
            visible ones alone.
        labels: With form masks: gives the labels of an annotated image as ``pack_labels`` writes them. Called in
            threads, once for each image that is used.
        interventions: Images with something removed.
    """

    schema: PartSchema = field(default_factory=PartSchema)
    annotated: Sequence[str] = ()
    points: pd.DataFrame | None = None
    labels: Callable[[str], bytes] | None = None
    interventions: Interventions | None = None
