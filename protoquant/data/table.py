"""The tables that ``prepare`` writes: every image that is used, with its class, one table for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from PIL import Image

from protoquant.core.artifacts import Manifest, digest_bytes, digest_json, open_artifact, read_json, read_table
from protoquant.core.errors import ArtifactError, DataError, suggest
from protoquant.data.images import decode_image, read_bytes
from protoquant.data.splits import SPLITS

if TYPE_CHECKING:
    import pandas as pd

KIND = "images"
TABLE = "images.parquet"
CLASSES = "classes.json"
SUMMARY = "summary.json"
EXCLUDED = "excluded"
"""Key of the summary: number of images that were left out by hand, by split, if any."""
DTYPES = {
    "image_id": "str",
    "label": "int64",
    "class_name": "str",
    "split": "str",
    "digest": "str",
    "width": "int32",
    "height": "int32",
}


@dataclass(frozen=True)
class ImageTable:
    """The images of one or of all splits.

    A split is read only on first use, so a fit that names train and validation never opens test.

    Attributes:
        images: The artifact of ``prepare``.
        root: ``prepare.root``.
        splits: The splits that the table covers.
        verify: Whether every file of a split is checked against its digest when the split is read.
    """

    images: Path
    root: Path
    splits: Sequence[str] = SPLITS
    verify: bool = True

    @classmethod
    def open(cls, images: Path, root: Path, *, verify: bool = True) -> Self:
        """Open the artifact of ``prepare``.

        Args:
            images: The artifact.
            root: ``prepare.root``, where the image files are unless the reader drew them into the artifact.
            verify: Also compare the digest of every file of a split that is read.

        Raises:
            ArtifactError: There is no such artifact. Reading a split raises it too, if that split is damaged.
        """
        if not (images / CLASSES).is_file():
            raise ArtifactError(
                f"no {KIND} at {images}: {CLASSES} is missing; run the stage that writes it (dvc repro)"
            )
        return cls(images, root, verify=verify)

    def split(self, name: str) -> Self:
        """The images of one split.

        Args:
            name: train, validation or test.

        Raises:
            DataError: There is no split of that name.
        """
        if name not in SPLITS:
            raise DataError(f"unknown split {name!r}{suggest(name, SPLITS)}; splits: {', '.join(SPLITS)}")
        return replace(self, splits=(name,))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names, index = label.

        Raises:
            ArtifactError: The names are not those that the split was written with.
        """
        names = read_json(self.images / CLASSES)
        if digest_json(names) != self._manifest.extra["classes"]:
            raise ArtifactError(
                f"{self.images / CLASSES} is damaged: it names other classes than the split; run prepare"
            )
        return tuple(names)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The images, sorted by split and id.

        Columns: ``image_id`` (POSIX path relative to ``folder``), ``label`` (index into ``classes``), ``class_name``,
        ``split``, ``digest`` (SHA-256 of the file), ``width`` and ``height`` (pixels, after EXIF rotation).
        """
        import pandas as pd

        return pd.concat([self._part(name) for name in sorted(self.splits)], ignore_index=True)

    @cached_property
    def folder(self) -> Path:
        """The folder of the image files: the root, or the artifact itself if the reader drew them."""
        return self.images if self._manifest.extra["drawn"] else self.root

    @cached_property
    def _manifest(self) -> Manifest:
        return open_artifact(self.images / self.splits[0], KIND, verify=False)

    @cached_property
    def _digests(self) -> dict[str, str]:
        return dict(zip(self.frame["image_id"], self.frame["digest"], strict=True))

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        return self.folder / image_id

    def image(self, image_id: str, *, at_least: int | None = None) -> Image.Image:
        """Open an image and check it against the digest that prepare recorded.

        Args:
            image_id: Id of an image of these splits.
            at_least: Shorter side that suffices, in pixels; see ``open_image``.

        Raises:
            DataError: The file is missing, has changed since, or cannot be decoded.
        """
        path = self.path(image_id)
        data = read_bytes(path, image_id)
        if digest_bytes(data) != self._digests[image_id]:
            raise DataError(f"{image_id} changed since prepare: its digest differs ({path}); run the pipeline again")
        return decode_image(data, name=image_id, at_least=at_least)

    def __len__(self) -> int:
        return len(self.frame)

    def _part(self, name: str) -> pd.DataFrame:
        folder = self.images / name
        open_artifact(folder, KIND, verify=self.verify)
        frame = read_table(folder / TABLE)
        if {column: str(dtype) for column, dtype in frame.dtypes.items()} != DTYPES:
            raise ArtifactError(f"{folder / TABLE} must have the columns {', '.join(DTYPES)}; run prepare again")
        return frame


def left_out_by_hand(images: Path) -> dict[str, int]:
    """Number of images that a person left out, by split; empty if there are none.

    Args:
        images: Written by prepare, perhaps by a version that knew of none.
    """
    summary = images / SUMMARY
    return dict(read_json(summary).get(EXCLUDED, {})) if summary.is_file() else {}


def of_excluded(excluded: Mapping[str, int]) -> str:
    """How many images that measure were left out by hand; empty if none was."""
    measuring = {name: count for name, count in excluded.items() if count and name != "train"}
    named = " and ".join(f"{count:,} of {name}" for name, count in measuring.items())
    return f"images excluded by hand: {named}; their numbers are of the images that are left" if measuring else ""
