"""MATLAB files: what is read from them, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from protoquant.core.errors import DataError
from protoquant.data.official.mat import numbers, read_mat, read_structs, texts
from tests.builders.matlab import cells, structs, write_mat


@pytest.fixture
def file(tmp_path: Path) -> Path:
    variables = {
        "labels": np.array([[3, 1, 2]], dtype=np.uint8),
        "column": np.array([[3.0], [1.0]]),
        "one": np.array([[7]], dtype=np.uint16),
        "names": cells(["a b", "c"]),
        "list": cells(["x/1.jpg", "x/2.jpg"], column=True),
        "annotations": structs({"class": [2, 1], "fname": ["1.jpg", "2.jpg"]}),
        "single": structs({"class": [2], "fname": ["1.jpg"]}, column=True),
        "flags": np.array([[True, False]]),
    }
    write_mat(tmp_path / "a.mat", variables)
    return tmp_path / "a.mat"


def test_rows_columns_and_single_values_are_lists(file: Path) -> None:
    labels, column, one, flags = read_mat(file, "labels", "column", "one", "flags")
    assert [numbers(values, file) for values in (labels, column, one, flags)] == [[3, 1, 2], [3, 1], [7], [1, 0]]
    names, files = read_mat(file, "names", "list")
    assert (texts(names, file), texts(files, file)) == (["a b", "c"], ["x/1.jpg", "x/2.jpg"])
    assert read_mat(file.with_name("elsewhere.mat"), "labels", data=file.read_bytes()) == [labels]


def test_fields_of_structs_are_lists(file: Path) -> None:
    assert read_structs(file, "annotations", ("fname", "class")) == [["1.jpg", "2.jpg"], [2, 1]]
    assert read_structs(file, "single", ("class",)) == [[2]]


def refused(call, *given: object) -> str:
    with pytest.raises(DataError) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_a_file_does_not_hold_is_said(file: Path) -> None:
    assert refused(read_mat, file, "labels", "tstid").startswith(
        f"{file}: expected the variables labels, tstid, found labels, column, one, names"
    )
    fields = "expected 'annotations' to be structs with fname, test; copy it again"
    assert refused(read_structs, file, "annotations", ("fname", "test")) == f"{file}: {fields}"
    assert refused(read_structs, file, "labels", ("class",)).startswith(f"{file}: expected 'labels' to be structs")
    assert refused(read_structs, file, "none", ("class",)).startswith(f"{file}: expected 'none' to be structs")


@pytest.mark.parametrize("value", [1.5, "1", float("nan"), float("inf"), None])
def test_no_whole_number_is_refused(value: object, file: Path) -> None:
    assert refused(numbers, [1, value], file) == f"{file}: expected a whole number, got {value!r}; copy it again"


@pytest.mark.parametrize("value", [1, "", " ", None])
def test_no_text_is_refused(value: object, file: Path) -> None:
    assert refused(texts, ["a", value], file) == f"{file}: expected a text, got {value!r}; copy it again"


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "matlab 7.3"])
def test_a_file_that_cannot_be_read_is_one_line(file: Path, damage: str) -> None:
    data = file.read_bytes()
    flipped = bytearray(data)
    flipped[200:240] = bytes(40)
    hdf = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600)
    held = {"empty": b"", "text": b"no MATLAB file" * 20, "cut": data[: len(data) // 2], "flipped": bytes(flipped)}
    file.write_bytes(held.get(damage, hdf))
    assert refused(read_mat, file, "labels").startswith(f"{file} is not a MATLAB file that can be read (")
