"""Stanford Cars-196 as it is published: photos of 196 models of cars.

A class is named by its official number, 1 to 196; its title is make, model and year. Validation is cut from train. The
root holds one of

- ``devkit/`` with ``cars_meta.mat`` and ``cars_train_annos.mat``, the folders ``cars_train/`` and ``cars_test/``, and
  ``cars_test_annos_withlabels.mat``, which is not part of the devkit and lies beside or in it;
- ``cars_annos.mat`` and the folder ``car_ims/``;
- ``train/CLASS/`` and ``test/CLASS/``, also below ``car_data/`` or ``car_data/car_data/``. The numbers of the classes
  are read from ``names.csv`` beside them (a name in each line) or from ``devkit/cars_meta.mat``; without such a list,
  classes are named by their folders, which is said.
"""

from pathlib import Path

from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.data.config import PrepareConfig
from protoquant.data.folder_walk import subfolders
from protoquant.data.official.cars_files import (
    ALL,
    IMAGES,
    NAMES,
    find_layout,
    read_class_folders,
    read_devkit,
    read_one_folder,
)
from protoquant.data.official.published_set import FoundImages, PublishedSet, list_whole
from protoquant.data.readers.listing import Listing

PUBLISHED = PublishedSet(
    "Stanford Cars-196",
    "its authors host it no longer, so copy it whole from somebody who has it (docs/datasets.md)",
    classes=196,
    images={"train": 8_144, "test": 8_041},
)


def read(root: Path, *, config: PrepareConfig, on_event: OnEvent, **_: object) -> Listing:
    """List the photos.

    Args:
        root: The folder.
        config: ``partial``.
        on_event: Receives a message if classes have no numbers and, with ``partial``, one with the counts.

    Returns:
        The images.

    Raises:
        DataError: The folder has none of the three layouts, a file is missing, files contradict each other, or counts
            are not the published ones.
    """
    layout = find_layout(root)
    if layout == "devkit":
        found = read_devkit(root, PUBLISHED, partial=config.partial)
    elif layout == "one folder":
        found = read_one_folder(root)
    elif layout == "class folders":
        found = _of_folders(root, on_event)
    else:
        raise DataError(_no_layout(root))
    look = layout != "class folders"
    return list_whole(root, found, PUBLISHED, look=look, partial=config.partial, on_event=on_event)


def _of_folders(root: Path, on_event: OnEvent) -> FoundImages:
    found, numbered = read_class_folders(root)
    if not numbered:
        text = f"neither {NAMES} nor devkit/cars_meta.mat lies beside the folders of {PUBLISHED.title}, so its classes"
        on_event(MessageEvent(f"{text} are named by their folders and not by their official numbers", "warning"))
    return found


def _no_layout(root: Path) -> str:
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        return f"prepare.root must be the folder of {PUBLISHED.title}; {root} {found} (params.yaml); correct it"
    inner = next((folder for folder in subfolders(root) if find_layout(folder)), None)
    hint = f"set prepare.root to {inner} (params.yaml)" if inner else PUBLISHED.where
    layouts = f"devkit/ with cars_train/ and cars_test/, {ALL} with {IMAGES}/, or train/ and test/ with class folders"
    return f"{root} is not {PUBLISHED.title}: expected {layouts}; {hint}"
