"""The files of Stanford Cars-196, in each of the three layouts in which copies of it are found.

Source: Krause et al., "3D Object Representations for Fine-Grained Categorization", 2013, and the README of its devkit.
"""

from collections.abc import Sequence
from pathlib import Path

from protoquant.core.errors import DataError, suggest
from protoquant.data.complete import require_files
from protoquant.data.folder_walk import files_below, subfolders
from protoquant.data.images import is_image_name
from protoquant.data.official.mat import numbers, read_mat, read_structs, texts
from protoquant.data.official.published_set import FoundImages, PublishedSet, rows_of
from protoquant.data.readers.listing import natural_order
from protoquant.data.splits import SplitName

META, TRAIN, TEST = "devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"
ALL, IMAGES, NAMES = "cars_annos.mat", "car_ims", "names.csv"
_WRAPPERS = ("", "car_data", "car_data/car_data")
_FOLDERS: tuple[SplitName, ...] = ("train", "test")
Row = tuple[str, str, SplitName]


def find_layout(root: Path) -> str | None:
    """Name the layout: devkit, one folder or class folders; None if it is none of them."""
    devkit, one_file = (root / META).is_file() or (root / TRAIN).is_file(), (root / ALL).is_file()
    if devkit and (root / "cars_train").is_dir():
        return "devkit"
    if one_file and (root / IMAGES).is_dir():
        return "one folder"
    if class_folders(root):
        return "class folders"
    return "devkit" if devkit else "one folder" if one_file else None


def class_folders(root: Path) -> Path | None:
    """The folder that holds train/ and test/ with a folder for each class."""
    places = (root / wrapper for wrapper in _WRAPPERS)
    return next((place for place in places if any(subfolders(place / split) for split in _FOLDERS)), None)


def read_devkit(root: Path, published: PublishedSet, *, partial: bool) -> FoundImages:
    """The images of ``cars_train/`` and ``cars_test/``, as the files of the devkit name them.

    Raises:
        DataError: A file is missing or not what it should be; with ``partial``, the labels of test may be missing.
    """
    require_files(root, [META, TRAIN], published.title, published.where)
    names = texts(read_mat(root / META, "class_names")[0], root / META)
    tests = next((file for file in (root / TEST, root / "devkit" / TEST) if file.is_file()), None)
    if tests is None and not partial:
        raise DataError(
            f"{root} lacks {TEST}, the labels of the test images of {published.title}, which are not in its devkit; "
            f"{published.mend}"
        )
    files: dict[SplitName, Path] = {"train": root / TRAIN}
    if tests is not None:
        files["test"] = tests
    rows: list[Row] = []
    for split, file in files.items():
        images, labels = read_structs(file, "annotations", ("fname", "class"))
        classes = _numbered(labels, names, file)
        rows += [
            (f"cars_{split}/{name}", label, split) for name, label in zip(texts(images, file), classes, strict=True)
        ]
    return _found(rows, names)


def read_one_folder(root: Path) -> FoundImages:
    """The images of ``car_ims/``, as ``cars_annos.mat`` names them.

    Raises:
        DataError: The file is not what it should be.
    """
    file = root / ALL
    names = texts(read_mat(file, "class_names")[0], file)
    paths, labels, tests = read_structs(file, "annotations", ("relative_im_path", "class", "test"))
    rows: list[Row] = [
        (path, label, "test" if test else "train")
        for path, label, test in zip(
            texts(paths, file), _numbered(labels, names, file), numbers(tests, file), strict=True
        )
    ]
    return _found(rows, names)


def read_class_folders(root: Path) -> tuple[FoundImages, bool]:
    """The images of ``train/CLASS/`` and ``test/CLASS/``, and whether their classes have numbers.

    Folders are in the order of the alphabet, which is not that of the numbers. Only a list of names tells these.

    Raises:
        DataError: A folder is no class of the list.
    """
    place = class_folders(root) or root
    folders = [(folder, split) for split in _FOLDERS for folder in subfolders(place / split)]
    names = _names_beside(root, place)
    known = {name.replace("/", "-"): str(number) for number, name in enumerate(names, start=1)}
    rows: list[Row] = []
    for folder, split in folders:
        if names and folder.name not in known:
            raise DataError(
                f"{folder} is no class of the list of names beside it{suggest(folder.name, known)}; take the list and "
                f"the folders from one copy"
            )
        inside = (file for file in files_below(folder) if is_image_name(file.name))
        rows += [(file.relative_to(root).as_posix(), known.get(folder.name, folder.name), split) for file in inside]
    if names:
        return _found(rows, names), True
    return FoundImages(rows_of(rows), natural_order({folder.name for folder, _ in folders})), False


def _names_beside(root: Path, place: Path) -> list[str]:
    """The names of all classes in the order of their numbers; none if no list lies beside the folders."""
    for folder in dict.fromkeys((place, *place.parents)):
        if (folder / NAMES).is_file():
            lines = (folder / NAMES).read_text(encoding="utf-8-sig").splitlines()
            return [line.strip().strip('"') for line in lines if line.strip()]
        if (folder / META).is_file():
            return texts(read_mat(folder / META, "class_names")[0], folder / META)
        if folder == root:
            break
    return []


def _numbered(labels: Sequence[object], names: Sequence[str], file: Path) -> list[str]:
    """The number of each class as text, after a check that it has a name."""
    found = numbers(labels, file)
    if strange := sorted({label for label in found if not 1 <= label <= len(names)}):
        raise DataError(
            f"{file} names class {strange[0]}, there are names for 1 to {len(names)}; copy both files again"
        )
    return [str(label) for label in found]


def _found(rows: Sequence[Row], names: Sequence[str]) -> FoundImages:
    titles = {str(number): name for number, name in enumerate(names, start=1)}
    return FoundImages(rows_of(rows), tuple(titles), titles)
