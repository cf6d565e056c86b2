"""The table that ``prepare`` writes: every image that is used, with its class and split."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pandas as pd

from protoquant.core.artifacts import open_artifact, read_json, read_table
from protoquant.core.errors import ArtifactError, DataError, suggest
from protoquant.data.splits import SPLITS

KIND = "images"
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

    Attributes:
        frame: ``image_id`` (POSIX path relative to ``folder``), ``label`` (index into ``classes``), ``class_name``,
            ``split``, ``digest`` (SHA-256 of the file), ``width`` and ``height`` (pixels, after EXIF rotation);
            sorted by split and id.
        classes: Class names, index = label.
        folder: Where the image files are.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    folder: Path

    @classmethod
    def open(cls, images: Path, root: Path, *, verify: bool = True) -> Self:
        """Open what ``prepare`` wrote.

        Args:
            images: The artifact.
            root: ``prepare.root``, where the image files are unless the reader drew them into the artifact.
            verify: Also compare the digest of every file of the artifact.

        Raises:
            ArtifactError: The artifact is missing or damaged.
        """
        open_artifact(images, KIND, verify=verify)
        frame = read_table(images / "images.parquet")
        if {name: str(dtype) for name, dtype in frame.dtypes.items()} != DTYPES:
            raise ArtifactError(f"{images / 'images.parquet'} must have the columns {', '.join(DTYPES)}; run prepare")
        drawn = images / "images"
        return cls(frame, tuple(read_json(images / "classes.json")), drawn if drawn.is_dir() else root)

    def split(self, name: str) -> Self:
        """The images of one split.

        Args:
            name: train, validation or test.

        Raises:
            DataError: There is no split of that name.
        """
        if name not in SPLITS:
            raise DataError(f"unknown split {name!r}{suggest(name, SPLITS)}; splits: {', '.join(SPLITS)}")
        return replace(self, frame=self.frame[self.frame["split"] == name].reset_index(drop=True))

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        return self.folder / image_id

    def __len__(self) -> int:
        return len(self.frame)
