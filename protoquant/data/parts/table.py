"""The artifact of parts that ``prepare`` writes: a schema, and the annotations of each split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from PIL import Image

from protoquant.core.artifacts import Manifest, digest_bytes, digest_json, open_artifact, read_json, read_table
from protoquant.core.errors import ArtifactError, DataError, suggest
from protoquant.data.images import decode_image, read_bytes
from protoquant.data.parts.labels import unpack_labels
from protoquant.data.parts.schema import PartSchema
from protoquant.data.splits import SPLITS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from jaxtyping import UInt8

KIND = "parts"
SCHEMA = "schema.json"
SEEN = "seen-{}.json"
"""The file of each value of ``quantize.seeding_on_object``, on which quantize depends: that of true has the digest of
the train annotations, that of false says nothing."""
TABLES = {
    "annotated": {"image_id": "str", "labels": "object"},
    "points": {"image_id": "str", "part": "int64", "x": "float64", "y": "float64"},
    "interventions": {"image_id": "str", "kind": "str", "removed": "str", "path": "str", "digest": "str"},
}
"""Columns and types of the tables of a split; ``labels`` holds PNG files, and nothing unless the form is masks."""


@dataclass(frozen=True)
class PartTable:
    """The part annotations of a data set, read split by split.

    Attributes:
        parts: The artifact.
        root: ``prepare.root``.
        schema: The parts.
        verify: Whether every file of a split is checked against its digest when the split is read.
    """

    parts: Path
    root: Path
    schema: PartSchema
    verify: bool = True

    @classmethod
    def open(cls, parts: Path, root: Path, *, verify: bool = True) -> Self:
        """Open the artifact; no split is read.

        Args:
            parts: The artifact.
            root: ``prepare.root``, where intervention images are unless the reader drew them into the artifact.
            verify: Also compare the digest of every file of a split that is read.

        Raises:
            ArtifactError: There is no such artifact, or its schema is damaged.
        """
        if not (parts / SCHEMA).is_file():
            raise ArtifactError(f"no {KIND} at {parts}: {SCHEMA} is missing; run the stage that writes it (dvc repro)")
        schema = PartSchema.of_plain(read_json(parts / SCHEMA), str(parts / SCHEMA))
        return cls(parts, root, schema, verify)

    def split(self, name: str) -> SplitParts:
        """The annotations of one split, which are read on first use.

        Args:
            name: train, validation or test.

        Raises:
            DataError: There is no split of that name.
        """
        if name not in SPLITS:
            raise DataError(f"unknown split {name!r}{suggest(name, SPLITS)}; splits: {', '.join(SPLITS)}")
        return SplitParts(self, name)


@dataclass(frozen=True)
class SplitParts:
    """The part annotations of one split.

    Reading any of them raises ArtifactError if the split is missing, damaged, or of another schema.

    Attributes:
        table: The whole data set.
        name: The split.
    """

    table: PartTable
    name: str

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """The annotated images, sorted."""
        return tuple(self._annotated["image_id"])

    @cached_property
    def points(self) -> pd.DataFrame:
        """The visible points, sorted by image and part; empty unless the form is points.

        Columns: ``image_id``; ``part``, index into the schema's parts; ``x`` and ``y`` in pixels of the upright image.
        """
        return self._read("points")

    @cached_property
    def interventions(self) -> pd.DataFrame:
        """Images with something removed, sorted by image, kind and what was removed.

        Columns: ``image_id``; ``kind``, parts or object; ``removed``, sorted part names joined by ``+``, or the number
        of the object; ``path``; ``digest``, the SHA-256 of the file.
        """
        return self._read("interventions")

    def labels(self, image_id: str) -> UInt8[np.ndarray, "h w"]:
        """What each pixel of the upright image shows: 0 the background, 1 to P the parts, P + 1 the body.

        Raises:
            DataError: The image has no mask.
        """
        data = self._labels.get(image_id)
        if data is None:
            raise DataError(f"{image_id} has no mask of parts in the split {self.name} ({self.table.parts})")
        return unpack_labels(data)

    def intervention(self, path: str) -> Image.Image:
        """Open an image of ``interventions`` as RGB, and check it against the digest that prepare recorded.

        Args:
            path: Its ``path``.

        Raises:
            DataError: The file is missing, has changed since, or cannot be decoded.
        """
        file = self.folder / path
        data = read_bytes(file, path)
        if digest_bytes(data) != self._digests[path]:
            raise DataError(f"{path} changed since prepare: its digest differs ({file}); run the pipeline again")
        return decode_image(data, name=path)

    @cached_property
    def folder(self) -> Path:
        """The folder of the intervention images: the root, or the artifact itself if the reader drew them."""
        return self.table.parts if self._manifest.extra["drawn"] else self.table.root

    @cached_property
    def _manifest(self) -> Manifest:
        manifest = open_artifact(self.table.parts / self.name, KIND, verify=self.table.verify)
        if manifest.extra["schema"] != digest_json(self.table.schema.plain()):
            raise ArtifactError(f"{self.table.parts / SCHEMA} is damaged: it is not the split's; run prepare again")
        return manifest

    @cached_property
    def _annotated(self) -> pd.DataFrame:
        return self._read("annotated")

    @cached_property
    def _labels(self) -> dict[str, bytes]:
        if self.table.schema.form != "masks":
            return {}
        return dict(zip(self._annotated["image_id"], self._annotated["labels"], strict=True))

    @cached_property
    def _digests(self) -> dict[str, str]:
        return dict(zip(self.interventions["path"], self.interventions["digest"], strict=True))

    def _read(self, name: str) -> pd.DataFrame:
        _ = self._manifest  # checks the files first
        file = self.table.parts / self.name / f"{name}.parquet"
        frame = read_table(file)
        if {column: str(dtype) for column, dtype in frame.dtypes.items()} != TABLES[name]:
            raise ArtifactError(f"{file} must have the columns {', '.join(TABLES[name])}; run prepare again")
        return frame
