"""Tells which folders below a root are splits: they are called so and hold the same class folders.

A name alone says little: a class may be called train, and two sites may hold the same classes. So a layout with two
readings is refused, with the key that decides between them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protoquant.core.errors import DataError, suggest
from protoquant.data.complete import few
from protoquant.data.folder_walk import files_below, refuse_unreadable, subfolders
from protoquant.data.images import is_image_name
from protoquant.data.splits import SPLITS, SplitName, split_named

NO_SPLITS: Literal["none"] = "none"
"""What ``prepare.splits`` says of a root whose folders are classes, whatever they are called."""
_COMPANIONS = frozenset(
    {"mask", "masks", "segmentation", "segmentations", "annotation", "annotations", "labels", "groundtruth", "gt"}
)


@dataclass(frozen=True)
class SplitFolders:
    """The splits of a root.

    Attributes:
        classes: The folder of the class folders of each split; empty if the class folders lie in the root.
        beside: Folders of the root in which no split lies.
        notes: What was passed over, and what else there is to say.
    """

    classes: Mapping[Path, SplitName]
    beside: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def find_splits(root: Path, given: Mapping[SplitName, str] | Literal["none"] | None) -> SplitFolders:
    """Find the splits of a root.

    Args:
        root: The folder.
        given: ``prepare.splits``: the folder of each split, ``none``, or None to go by names and class folders.

    Raises:
        DataError: A folder that was given is not there, a split has two folders or train has none, or the layout has
            two readings.
    """
    folders = subfolders(root)
    if given == NO_SPLITS:
        return SplitFolders({})
    if given is not None:
        return _given(root, folders, given)
    named = {folder: split for folder in folders if (split := split_named(folder.name))}
    bases = {folder: _unwrapped(folder, split) for folder, split in named.items()}
    held = {folder: _names(bases.get(folder, folder), known=folder in named) for folder in folders}
    labelled = {folder: split for folder, split in named.items() if held[folder]}
    others = [folder for folder in folders if folder not in named and not _is_companion(folder.name)]
    if not labelled:
        _refuse_unlabelled(root, {folder: split for folder, split in named.items() if _has_image(folder)}, others)
    elif "train" not in labelled.values() and len(labelled) == len(folders):
        names = ", ".join(folder.name for folder in labelled)
        raise DataError(
            f"{root} holds {names} but no folder train; add it, name it by prepare.splits, or put class folders in "
            f"the root"
        )
    _refuse_unknown(root, labelled, others, held)
    if "train" not in labelled.values():
        _refuse_alike(root, others, held)
        return SplitFolders({})
    if len(labelled) == 1:
        (train,) = labelled
        _refuse_lone_train(root, train, [folder for folder in others if held[folder] and _has_image(folder)])
    for split in labelled.values():
        same = [folder.name for folder in labelled if labelled[folder] == split]
        if len(same) > 1:
            raise DataError(f"{root} holds the {split} split more than once ({', '.join(same)}); keep one of them")
    return SplitFolders(
        {bases[folder]: split for folder, split in labelled.items()},
        tuple(folder for folder in folders if folder not in labelled),
        tuple(_passed_over(folder) for folder in folders if folder not in labelled and _has_image(folder)),
    )


def _given(root: Path, folders: Sequence[Path], given: Mapping[SplitName, str]) -> SplitFolders:
    """The splits that ``prepare.splits`` names."""
    found: dict[Path, SplitName] = {}
    for split, name in given.items():
        base = root / name
        if not base.is_dir():
            there = ", ".join(folder.name for folder in folders) or "none"
            raise DataError(f"prepare.splits.{split}: {root} holds no folder {name!r}; its folders: {there}")
        found[base] = split
    around = [folder for place in sorted({root, *(base.parent for base in found)}) for folder in subfolders(place)]
    beside = tuple(folder for folder in around if not any(base.is_relative_to(folder) for base in found))
    return SplitFolders(found, beside, tuple(map(_not_named, beside)))


def _unwrapped(folder: Path, split: SplitName) -> Path:
    """The folder itself, or the only folder in it if that stands for the same split, as in seg_train/seg_train."""
    inner = subfolders(folder)
    return inner[0] if len(inner) == 1 and split_named(inner[0].name) == split else folder


def _names(folder: Path, *, known: bool) -> frozenset[str]:
    """The folders in a folder, which must be readable if it is called like a split."""
    return frozenset(inner.name for inner in subfolders(folder, refuse_unreadable if known else None))


def _is_companion(name: str) -> bool:
    """Whether a folder goes with others, such as masks or train_masks, and holds no images to learn from."""
    return not _COMPANIONS.isdisjoint(name.casefold().replace("-", "_").replace("ground_truth", "gt").split("_"))


def _has_image(folder: Path) -> bool:
    return any(is_image_name(path.name) for path in files_below(folder))


def _not_named(folder: Path) -> str:
    return f"{folder.name}/ is passed over: prepare.splits does not name it"


def _passed_over(folder: Path) -> str:
    count = sum(is_image_name(path.name) for path in files_below(folder))
    return f"{folder.name}/ is passed over: {count:,} image{'s' * (count != 1)} without a class"


def _refuse_unlabelled(root: Path, flat: Mapping[Path, SplitName], others: Sequence[Path]) -> None:
    """Refuse folders called like splits in which images lie without class folders, unless they are among classes."""
    classes = [folder for folder in others if _has_image(folder)]
    if len(flat) < 2 and ("train" not in flat.values() or len(classes) > 1):
        return
    names = few([folder.name for folder in flat], "folder", "folders")
    raise DataError(
        f"{root}: {names} with images but no class folders; if a table has the labels, use prepare.reader: table; if "
        f"the folders of the root are the classes, set prepare.splits: none"
    )


def _refuse_lone_train(root: Path, train: Path, others: Sequence[Path]) -> None:
    """Refuse a folder train with class folders beside folders with others: a split, or one class of several?"""
    if others:
        names = ", ".join(folder.name for folder in others[:3])
        raise DataError(
            f"{root}: {train.name} holds class folders, and so do {names}, but others; if {train.name} is the train "
            f"split, set prepare.splits: {{train: {train.name}}}; if all of them are classes, set prepare.splits: none"
        )


def _refuse_unknown(
    root: Path,
    labelled: Mapping[Path, SplitName],
    others: Sequence[Path],
    held: Mapping[Path, frozenset[str]],
) -> None:
    """Refuse folders that hold the class folders of a split and are not called like one."""
    known = frozenset(name for folder in labelled for name in held[folder])
    for folder in others:
        if shared := held[folder] & known:
            keys = ", ".join(f"{split}: {one.name}" for one, split in labelled.items())
            raise DataError(
                f"{root} holds class folders below {folder.name!r} ({_some(shared)}), which is no "
                f"split{suggest(folder.name.lower(), SPLITS)}; rename it, or name the splits by prepare.splits, such "
                f"as {{{keys}}} (the others are passed over); if the folders of the root are the classes, set "
                f"prepare.splits: none"
            )


def _refuse_alike(root: Path, folders: Sequence[Path], held: Mapping[Path, frozenset[str]]) -> None:
    """Refuse folders that hold the same folders as each other, and no images beside them: sites, or classes?"""
    holders: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        for name in held[folder]:
            holders[name].append(folder)
    often = sorted((name for name in holders if len(holders[name]) > 1), key=lambda name: -len(holders[name]))[:2]
    alike = [folder for folder in folders if often and held[folder].issuperset(often) and not _has_own_image(folder)]
    if len(often) < 2 or len(alike) < 2:
        return
    one, other = (folder.name for folder in alike[:2])
    found = f"{root}: {one} and {other} hold the same folders ({_some(held[alike[0]] & held[alike[1]])})"
    if any(map(split_named, often)):
        raise DataError(
            f"{found}, splits below the classes; put the classes below the splits, or list the images in a table with "
            f"a column split (prepare.reader: table)"
        )
    raise DataError(
        f"{found}; if those are the classes, name the splits, such as prepare.splits: {{train: {one}, test: {other}}}, "
        f"or list the images in a table (prepare.reader: table); if {one} and {other} are the classes, set "
        f"prepare.splits: none"
    )


def _has_own_image(folder: Path) -> bool:
    return any(is_image_name(path.name) for path in folder.iterdir())


def _some(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
