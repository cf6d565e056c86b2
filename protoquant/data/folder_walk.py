"""Lists the files that count in a folder of images filled by others, each once and in a fixed order."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from protoquant.core.errors import DataError

_LEFT_BEHIND = frozenset(
    {
        "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler", "system volume information",  # Windows
        "__macosx", "icon\r",  # macOS
        "lost+found", "@eadir", "#recycle",  # Linux, network storage
    }
)  # fmt: skip


def visible(name: str) -> bool:
    """Whether a file or folder counts: it is not hidden, and no operating system left it behind."""
    return not name.startswith(".") and name.casefold() not in _LEFT_BEHIND


def subfolders(folder: Path, on_error: Callable[[OSError], None] | None = None) -> list[Path]:
    """The visible folders in a folder, in the order of their names.

    Args:
        folder: The folder.
        on_error: Receives the error if it cannot be opened; without it, such a folder holds none.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if visible(entry.name) and _is_folder(entry))
    except OSError as error:
        if on_error is not None:
            on_error(error)
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def refuse_unreadable(error: OSError) -> None:
    """Refuse data of which a whole class or split would be lost.

    Raises:
        DataError: Always; it names the folder.
    """
    raise DataError(f"{error.filename} cannot be opened ({error.strerror}); mend its rights, or remove it") from error


def files_below(folder: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """All visible files below a folder; links are followed, but to each folder only once, so that a loop of links ends.

    Args:
        folder: The top folder.
        on_error: Receives the error of each folder that cannot be opened; without it, such a folder is skipped.
    """
    seen: set[tuple[int, int]] = set()
    for place, inner, names in os.walk(folder, followlinks=True, onerror=on_error):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            inner.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inner[:] = sorted(filter(visible, inner))
        yield from (Path(place, name) for name in sorted(filter(visible, names)))


def writable(name: str) -> str:
    """Escape what is not UTF-8 in a file name."""
    return name.encode("utf-8", "backslashreplace").decode()
