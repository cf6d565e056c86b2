"""The ``prepare`` section of params.yaml."""

from itertools import permutations
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, model_validator

from protoquant.core.section import Section
from protoquant.data.readers.registry import READERS, ReaderName, layouts
from protoquant.data.splits import SplitName


class TableConfig(Section):
    """What the reader ``table`` must know of its table."""

    file: str = Field(
        "images.csv",
        pattern=r"^[^/\\]+\.(csv|parquet)$",
        description="Table in prepare.root, CSV in UTF-8 or parquet; its paths are relative to prepare.root.",
    )
    separator: Literal[",", ";", "\t", "|"] = Field(",", description="What stands between two cells of a CSV table.")
    path: str = Field("path", min_length=1, description="Column with the relative path of each image.")
    label: str = Field("label", min_length=1, description="Column with the class name of each image.")
    split: str = Field(
        "split",
        min_length=1,
        description="Column with train, validation or test; where a column called split is absent, splits are cut.",
    )
    parts: str | None = Field(
        None,
        pattern=r"^[^/\\]+\.(csv|parquet)$",
        description="Table in prepare.root with a row for each visible part of an image: path, part, x and y (pixels); "
        "empty (null) if there is none.",
    )


class PrepareConfig(Section):
    """Which images there are, and what is cut from those that come without splits."""

    reader: ReaderName = Field("partbirds", description=f"How the images lie: {layouts()}.")
    root: str = Field(
        "data/partbirds.yaml",
        min_length=1,
        description="Folder of the images, or the spec file of partbirds, relative to the folder of params.yaml; or a "
        "folder in S3, s3://bucket/prefix.",
    )
    test_share: float = Field(
        0.2, gt=0, le=0.5, description="Share of each class cut for test where the data has no test split."
    )
    validation_share: float = Field(
        0.2,
        gt=0,
        le=0.5,
        description="Share of what is then left of each class, cut for validation where the data has no such split.",
    )
    min_side: int = Field(
        32, ge=1, le=4096, description="Pixels; an image whose shorter side is below this is left out."
    )
    splits: dict[SplitName, str] | Literal["none"] | None = Field(
        None,
        description="With image_folder: folder of each split, such as {train: Training, test: Testing}, other folders "
        "being passed over; none: the folders of the root are classes; empty (null): splits are recognised by name.",
    )
    exclude: str | None = Field(
        None,
        min_length=1,
        description="CSV table of images that a person chose to leave out, with columns path, sha256 and reason; "
        "a relative path starts at the folder of params.yaml; empty (null) if there is none.",
    )
    table: TableConfig | None = Field(
        None, description="Names used by the table; empty (null) for the defaults, and with any other reader."
    )

    interventions: bool = Field(
        False,
        description="With partbirds and funnybirds: also bring the test images without some of their parts, or without "
        "an object of the background; partbirds draws about 37 of them for each test image.",
    )
    crop: bool = Field(
        False,
        description="With cub: cut each photo to the box of its bird, and move its points with it; every number is "
        "then one of crops.",
    )
    ambiguous: bool = Field(
        False,
        description="With funnybirds: keep train images whose visible parts fit more than one class, with their one "
        "label; no solver here learns from several labels at once.",
    )
    partial: bool = Field(
        False,
        description="With cars, dogs, flowers and imagenet: take the images that are there and say how many; otherwise "
        "a copy with other counts than the published ones is refused.",
    )

    @model_validator(mode="after")
    def _train_and_distinct(self) -> Self:
        if isinstance(self.splits, dict):
            if "train" not in self.splits:
                raise ValueError(f"splits must name the folder of train, got {dict(self.splits)}")
            places = [PurePosixPath(name) for name in self.splits.values()]
            if any(one.is_relative_to(other) for one, other in permutations(places, 2)):
                raise ValueError(f"splits must name another folder for each split, none in another, got {self.splits}")
            for name in self.splits.values():
                if not name.strip("/.") or name.startswith("/") or ".." in name.split("/"):
                    raise ValueError(f"splits must name folders below root, got {name!r}")
        return self

    @model_validator(mode="after")
    def _no_idle_values(self) -> Self:
        for key in dict.fromkeys(key for entry in READERS.values() for key in entry.options):
            able = [name for name, entry in READERS.items() if key in entry.options]
            if getattr(self, key) != type(self).model_fields[key].default and self.reader not in able:
                raise ValueError(
                    f"{key} has no effect with reader {self.reader!r}; remove it or set reader: {' or '.join(able)}"
                )
        return self
