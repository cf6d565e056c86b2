"""MATLAB files in the structure in which data sets publish them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat


def cells(values: Sequence[Any], *, column: bool = False) -> np.ndarray:
    """A cell array of one row, or of one column."""
    array = np.empty((1, len(values)), dtype=object)
    array[0] = values
    return array.T if column else array


def structs(fields: Mapping[str, Sequence[Any]], *, column: bool = False) -> np.ndarray:
    """An array of structs in one row, or in one column."""
    count = len(next(iter(fields.values())))
    array = np.empty((1, count), dtype=[(name, object) for name in fields])
    for name, values in fields.items():
        for place, value in enumerate(values):
            array[0, place][name] = value
    return array.T if column else array


def write_mat(file: Path, variables: Mapping[str, Any]) -> None:
    """Write variables, compressed as MATLAB does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, dict(variables), do_compression=True, oned_as="row")
