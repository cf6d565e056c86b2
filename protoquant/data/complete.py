"""Refuses a published data set of which files are missing, since the rest would be another data set."""

from collections.abc import Iterable
from pathlib import Path

from protoquant.core.errors import DataError

_NAMED = 3


def require_files(root: Path, names: Iterable[str], what: str, mend: str = "copy the whole data set again") -> None:
    """Check that files are there.

    Args:
        root: The folder of the data set.
        names: Paths below it.
        what: Name of the data set, for errors.
        mend: What to do about a missing file.

    Raises:
        DataError: Some are missing; the first few are named and all are counted.
    """
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(f"prepare.root must be the folder of {what}; {root} {found} (params.yaml); correct it")
    absent = [name for name in names if not (root / name).is_file()]
    if absent:
        inner = next((path for path in sorted(root.iterdir()) if (path / absent[0]).is_file()), None)
        hint = f"set prepare.root to {inner} (params.yaml)" if inner else mend
        raise DataError(f"{root} lacks {few(absent, 'file', 'files')} of {what}; {hint}")


def few(names: list[str], one: str, many: str) -> str:
    """Count things and name the first: ``4 files (a, b, c, ...)``."""
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names):,} {one if len(names) == 1 else many} ({', '.join(names[:_NAMED])}{more})"
