"""Tar archives in the layout of WebDataset: the files of one sample share their name up to its first dot.

A sample is an image (``0001.jpg``) and its class: ``0001.cls`` holds a number or a name, or ``0001.json`` has it as
``label``. Numbers get their names from ``classes.txt`` in the root, one per line. An archive's split is the first
folder below the root or the beginning of the archive's name (``train/0000.tar``, ``train-0000.tar``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from protoquant.core.errors import DataError
from protoquant.data.archive import SUFFIX, contents, read_member
from protoquant.data.images import is_image_name
from protoquant.data.quarantine import Reason, Rejected
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import ALIASES, SplitName, split_named

CLASSES = "classes.txt"
_LABELS = ("cls", "json")
_SPLIT = re.compile(rf"({'|'.join(sorted(ALIASES, key=len, reverse=True))})(?=[-_.]|$)", re.IGNORECASE)


def read(root: Path, **_: object) -> Listing:
    """List the samples of all archives below a folder.

    A sample without an image or a class, or with two images, is left out and reported.

    Args:
        root: The folder.

    Returns:
        The images; a path is that of the archive followed by the image's name in it.

    Raises:
        DataError: The folder is missing or holds no archive, an archive is damaged, only some archives name a split, or
            ``classes.txt`` has no line for the number of a class.
    """
    archives = _archives(root)
    splits = _splits(root, archives)
    found: list[tuple[str, str, SplitName | None]] = []
    rejected: list[Rejected] = []
    for archive in archives:
        for sample in _samples(archive):
            place = f"{archive.relative_to(root).as_posix()}/{sample.name}"
            fault = sample.fault()
            label = None if fault else _label(archive, sample)
            if fault is None and label is not None:
                found.append((place, label, splits[archive]))
            else:
                rejected.append(_rejected(place, fault))
    names = _names(root, {label for _, label, _ in found})
    rows = [(place, names[label], split) for place, label, split in found]
    frame = pd.DataFrame(rows, columns=["path", "class_name", "split"])
    return Listing(frame, root, rejected=tuple(rejected))


def _rejected(place: str, fault: tuple[Reason, str] | None) -> Rejected:
    """A sample that is left out; if it has no other fault, its class is missing."""
    reason, detail = fault or (Reason.OUTSIDE_CLASS_FOLDER, "has no class: pack a .cls, or a .json with label, with it")
    return Rejected(place.encode("utf-8", "backslashreplace").decode(), reason, detail)


@dataclass(frozen=True)
class _Sample:
    """The files of one key, by the part of their names after the first dot; or a single odd member."""

    key: str
    files: Mapping[str, str]
    odd: str = ""

    @property
    def images(self) -> list[str]:
        return [name for name in self.files.values() if is_image_name(name)]

    @property
    def name(self) -> str:
        """The name of the sample: that of its image if it has one, else its key."""
        return self.images[0] if len(self.images) == 1 else self.key

    def fault(self) -> tuple[Reason, str] | None:
        parts = PurePosixPath(self.key)
        if self.odd:
            return Reason.BAD_NAME, self.odd
        if parts.is_absolute() or ".." in parts.parts or "\\" in self.key or "\0" in self.key:
            return Reason.BAD_NAME, "has a name that leaves its archive; rename it"
        if self.name.encode("utf-8", "replace").decode() != self.name:
            return Reason.BAD_NAME, "has a name that is not UTF-8; rename it"
        if len(self.images) != 1:
            return Reason.NOT_AN_IMAGE, f"is a sample with {len(self.images)} images; pack one with each key"
        return None


def _archives(root: Path) -> list[Path]:
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(f"prepare.root must be a folder of .tar archives; {root} {found} (params.yaml); correct it")
    archives = sorted(path for path in root.rglob(f"*{SUFFIX}") if path.is_file() and not path.name.startswith("."))
    if not archives:
        packed = sorted(path.name for path in root.rglob("*.tar.*"))
        hint = f"unpack the compression of {packed[0]} and others" if packed else "correct prepare.root"
        raise DataError(f"no .tar archive below {root}; {hint} (images are read in place)")
    return archives


def _splits(root: Path, archives: list[Path]) -> dict[Path, SplitName | None]:
    """The split that each archive names, or None for all."""
    found: dict[Path, SplitName | None] = {}
    for archive in archives:
        place = archive.relative_to(root)
        named = split_named(place.parts[0]) if len(place.parts) > 1 else None
        match = _SPLIT.match(archive.name)
        found[archive] = named or (ALIASES[match[1].lower()] if match else None)
    said = {archive for archive, split in found.items() if split}
    if said and len(said) < len(found):
        one, other = min(said), min(set(found) - said)
        raise DataError(f"{one.name} says its split and {other.name} does not; name all archives alike, or none")
    if said and "train" not in found.values():
        raise DataError(
            f"{root} holds archives of {', '.join(sorted(set(map(str, found.values()))))} but none of train"
        )
    return found


def _samples(archive: Path) -> Iterator[_Sample]:
    """The samples of an archive, in the order of their keys."""
    held = contents(archive)
    keys: dict[str, dict[str, str]] = {}
    for name in held.files:
        folder, _, last = name.rpartition("/")
        if last.startswith("."):
            continue
        key, _, kind = last.partition(".")
        keys.setdefault(f"{folder}/{key}" if folder else key, {})[kind.lower()] = name
    yield from (_Sample(key, keys[key]) for key in sorted(keys))
    yield from (_Sample(name, {}, odd) for name, odd in held.odd)


def _label(archive: Path, sample: _Sample) -> str | None:
    """The class as packed, a number or a name; None if it is missing or unreadable."""
    for kind in _LABELS:
        data = read_member(archive / sample.files[kind]) if kind in sample.files else None
        if data is None:
            continue
        try:
            text = data.decode()
            value = json.loads(text).get("label") if kind == "json" else text
        except (UnicodeDecodeError, json.JSONDecodeError, AttributeError):
            return None
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return None


def _names(root: Path, labels: set[str]) -> dict[str, str]:
    """The class name of each label: itself, a line of the list of names, or its number with zeros in front."""
    numbers = [int(label) for label in labels if label.isdecimal()]
    if not numbers or len(numbers) < len(labels):
        return {label: label for label in labels}
    file = root / CLASSES
    if not file.is_file():
        width = len(str(max(numbers)))
        return {label: f"{int(label):0{width}d}" for label in labels}
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    for number in sorted(numbers):
        if number >= len(lines) or not lines[number]:
            raise DataError(f"class {number} has no line in {file}, which has {len(lines)}; the first is class 0")
    return {label: lines[int(label)] for label in labels}
