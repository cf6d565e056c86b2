"""The development kit of ILSVRC2012: names of the classes, and the classes of the validation images.

It is read from the folder ``ILSVRC2012_devkit_t12`` or from ``ILSVRC2012_devkit_t12.tar.gz``.

Source: the readme of the kit; Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015.
"""

import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protoquant.core.errors import DataError
from protoquant.data.official.mat import numbers, read_structs, texts

FOLDER, PACKED = "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12.tar.gz"
META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
_FIELDS = ("ILSVRC2012_ID", "WNID", "words", "num_children", "num_train_images")
_MEND = f"copy {PACKED} again"


@dataclass(frozen=True)
class ImagenetDevkit:
    """What the kit says.

    Attributes:
        titles: The words of each class by its wnid.
        train: Number of train images of each class, by its wnid.
        truth: The wnid of each validation image, in the order of their numbers.
    """

    titles: Mapping[str, str]
    train: Mapping[str, int]
    truth: tuple[str, ...]


def read_devkit(root: Path) -> ImagenetDevkit | None:
    """Read the kit in a folder; None if there is none.

    Raises:
        DataError: A file of the kit is missing, or not what it should be.
    """
    if (root / FOLDER).is_dir():
        kit, held = root / FOLDER, _of_folder(root / FOLDER)
    elif (root / PACKED).is_file():
        kit, held = root / PACKED, _of_archive(root / PACKED)
    else:
        return None
    if absent := [name for name in (META, TRUTH) if name not in held]:
        raise DataError(f"{kit} lacks {' and '.join(absent)}; {_MEND}")
    return _understood(kit / META, held[META], kit / TRUTH, held[TRUTH])


def _of_folder(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (META, TRUTH) if (folder / name).is_file()}


def _of_archive(file: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(file, "r:gz") as tar:
            for info in tar:
                name = info.name.removeprefix("./").removeprefix(f"{FOLDER}/")
                held = tar.extractfile(info) if name in (META, TRUTH) and info.isreg() else None
                if held is not None:
                    found[name] = held.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read as a packed tar archive ({error}); {_MEND}") from error
    return found


def _understood(meta: Path, synsets: bytes, truth: Path, labels: bytes) -> ImagenetDevkit:
    ids, wnids, words, children, train = read_structs(meta, "synsets", _FIELDS, synsets)
    rows = zip(numbers(ids, meta), texts(wnids, meta), texts(words, meta), numbers(children, meta), train, strict=True)
    classes = {number: (wnid, title, count) for number, wnid, title, below, count in rows if not below}
    found: list[str] = []
    for place, line in enumerate(labels.decode("ascii", "replace").split(), start=1):
        if not line.isdecimal() or int(line) not in classes:
            raise DataError(f"{truth}, line {place}: expected the number of a class, got {line!r}; {_MEND}")
        found.append(classes[int(line)][0])
    counts = numbers([count for _, _, count in classes.values()], meta)
    titles = {wnid: title for wnid, title, _ in classes.values()}
    return ImagenetDevkit(titles, dict(zip(titles, counts, strict=True)), tuple(found))
