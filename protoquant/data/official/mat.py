"""Reads MATLAB files as data sets publish them: numbers, texts, and arrays of structs. Nothing in them is run."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from protoquant.core.errors import DataError

_MEND = "copy it again"
_FAULTS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    NotImplementedError,
    OSError,
    EOFError,
    struct.error,
    zlib.error,
)


def read_mat(file: Path, *names: str, data: bytes | None = None) -> list[list[Any]]:
    """Read variables of a file, each as one list of its elements.

    Args:
        file: The file; its path in errors.
        names: The variables.
        data: Its bytes, where it lies in an archive.

    Raises:
        DataError: It is no MATLAB file that can be read, or lacks a variable.
    """
    held = _load(file, data)
    if not set(names) <= held.keys():
        found = ", ".join(name for name in held if not name.startswith("__")) or "none"
        raise DataError(f"{file}: expected the variables {', '.join(names)}, found {found}; {_MEND}")
    return [list(np.atleast_1d(held[name]).ravel()) for name in names]


def read_structs(file: Path, name: str, fields: Sequence[str], data: bytes | None = None) -> list[list[Any]]:
    """Read fields of an array of structs, each as one list with an entry for each struct.

    Args:
        file: The file; its path in errors.
        name: The variable.
        fields: The fields.
        data: Its bytes, where it lies in an archive.

    Raises:
        DataError: As ``read_mat``; or the variable has not these fields.
    """
    array = np.atleast_1d(_load(file, data).get(name, np.empty(0))).ravel()
    if not set(fields) <= set(array.dtype.names or ()):
        raise DataError(f"{file}: expected {name!r} to be structs with {', '.join(fields)}; {_MEND}")
    return [list(array[field]) for field in fields]


def numbers(values: Sequence[Any], file: Path) -> list[int]:
    """Check that values are whole numbers.

    Raises:
        DataError: One is not.
    """
    for value in values:
        if not isinstance(value, int | float | np.number | np.bool_) or not float(value).is_integer():
            raise DataError(f"{file}: expected a whole number, got {value!r}; {_MEND}")
    return [int(value) for value in values]


def texts(values: Sequence[Any], file: Path) -> list[str]:
    """Check that values are texts.

    Raises:
        DataError: One is not, or is empty.
    """
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{file}: expected a text, got {value!r}; {_MEND}")
    return [str(value) for value in values]


def _load(file: Path, data: bytes | None) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        given = file.read_bytes() if data is None else data
        held: dict[str, Any] = loadmat(cast("Any", io.BytesIO(given)), squeeze_me=True)
    except (MatReadError, *_FAULTS) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file} is not a MATLAB file that can be read ({said}); {_MEND}") from error
    return held
