"""FunnyBirds as it is published: synthetic birds, whose classes are combinations of five parts.

Below the root lie ``classes.json``, ``parts.json``, and for train and test ``dataset_SPLIT.json``, the images
``SPLIT/CLASS/NUMBER.png`` and their part maps ``SPLIT_part_map/CLASS/NUMBER.png``; a number is the place of the record
in the JSON file, in six digits. There is no validation split; it is cut from train. The published images are opaque, so
that dropping their alpha channel changes nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from protoquant.core.errors import DataError
from protoquant.data.complete import few, require_files
from protoquant.data.config import PrepareConfig
from protoquant.data.parts.funnybirds import PARTS, fitting, interventions, read_part_map, schema_of
from protoquant.data.parts.listing import Interventions, PartListing
from protoquant.data.parts.schema import PartSchema
from protoquant.data.quarantine import Reason, Rejected
from protoquant.data.readers.listing import Listing

_SPLITS = ("train", "test")
_FIELDS = ("class_idx", "bg_objects", *(f"{part}_model" for part in PARTS))


def read(root: Path, *, config: PrepareConfig, **_: object) -> Listing:
    """List the images with their part maps and, if asked for, the interventions on test images.

    A train image whose visible parts fit several classes is left out as ambiguous, unless ``ambiguous`` is set.

    Args:
        root: The folder.
        config: ``interventions`` and ``ambiguous``.

    Returns:
        The images.

    Raises:
        DataError: A file is missing, is not what it should be, or is there without a record.
    """
    birds = _Birds.of(root)
    records = {name: record for split in _SPLITS for name, record in birds.records(split).items()}
    _check_files(root, records, birds.changes(records) if config.interventions else {})
    fits = {name: fitting(record, birds.classes) for name, record in records.items() if name.startswith("train/")}
    doubtful = [] if config.ambiguous else [name for name, classes in fits.items() if len(classes) > 1]
    left_out = [Rejected(name, Reason.AMBIGUOUS, _detail(fits[name], records[name])) for name in doubtful]
    names = sorted(records.keys() - set(doubtful))
    frame = pd.DataFrame(
        {
            "path": names,
            "class_name": [str(records[name]["class_idx"]) for name in names],
            "split": [name.partition("/")[0] for name in names],
        }
    )
    held = Interventions(_rows(birds.changes(records)), root) if config.interventions else None
    parts = PartListing(birds.schema, names, labels=lambda name: read_part_map(root / _map(name)), interventions=held)
    classes = tuple(str(one["class_idx"]) for one in birds.classes)
    return Listing(frame, root, classes, tuple(left_out), parts, official=True)


@dataclass(frozen=True)
class _Birds:
    """The JSON files."""

    root: Path
    classes: Sequence[Mapping[str, Any]]
    schema: PartSchema

    @classmethod
    def of(cls, root: Path) -> "_Birds":
        require_files(
            root, ["classes.json", "parts.json", *(f"dataset_{split}.json" for split in _SPLITS)], "FunnyBirds"
        )
        classes, parts = (_load(root / f"{name}.json") for name in ("classes", "parts"))
        try:
            return cls(root, classes, schema_of(classes, parts))
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"{root / 'classes.json'} does not fit {root / 'parts.json'} ({type(error).__name__}: {error}); copy "
                f"both again"
            ) from error

    def records(self, split: str) -> dict[str, Mapping[str, Any]]:
        """The record of each image of a split, by its path."""
        file = self.root / f"dataset_{split}.json"
        found = {}
        for number, record in enumerate(_load(file)):
            if lost := [name for name in _FIELDS if not isinstance(record, dict) or name not in record]:
                raise DataError(f"{file}: record {number} lacks {', '.join(lost)}; copy it again")
            if str(record.get("class_idx")) not in (self.schema.variants or {}):
                raise DataError(
                    f"{file}: record {number} is of class {record.get('class_idx')}, which is not in classes.json"
                )
            found[f"{split}/{record['class_idx']}/{number:06d}.png"] = record
        return found

    def changes(self, records: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str, str]]:
        """Every intervention by its file: the image, the kind, and what is removed."""
        return {
            path: (name, kind, removed)
            for name, record in records.items()
            if name.startswith("test/")
            for kind, removed, path in interventions(record, name)
        }


def _check_files(root: Path, images: Iterable[str], changed: Iterable[str]) -> None:
    """Refuse a folder with a file too few, or an image without a record."""
    names = list(images)
    require_files(root, [*names, *map(_map, names), *changed], "FunnyBirds")
    known = set(names)
    there = (path.relative_to(root).as_posix() for split in _SPLITS for path in (root / split).rglob("*.png"))
    strange = sorted(name for name in there if name not in known)
    if strange:
        raise DataError(
            f"{root} holds {few(strange, 'image', 'images')} without a record in dataset_train.json or "
            f"dataset_test.json; take the images and the records from one copy of FunnyBirds"
        )


def _map(image: str) -> str:
    """The part map of an image."""
    split, _, rest = image.partition("/")
    return f"{split}_part_map/{rest}"


def _detail(fits: Sequence[int], record: Mapping[str, Any]) -> str:
    other = next(one for one in fits if one != record["class_idx"])
    return f"shows no part that tells its class from {len(fits) - 1} others, such as class {other}"


def _rows(changed: Mapping[str, tuple[str, str, str]]) -> pd.DataFrame:
    rows = [(*what, path) for path, what in changed.items()]
    return pd.DataFrame(rows, columns=["image_id", "kind", "removed", "path"])


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{file} is not JSON ({error}); copy it again") from error
