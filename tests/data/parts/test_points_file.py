"""The user's table of points, through the reader ``table``."""

from pathlib import Path

import pandas as pd
import pytest

from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent
from protoquant.data.parts.points_file import read_points

IMAGES = ["a/1.png", "a/2.png"]
HEAD = "path,part,x,y\n"


def read(tmp_path: Path, text: str, told: list[str] | None = None):
    (tmp_path / "parts.csv").write_text(text)
    return read_points(tmp_path / "parts.csv", IMAGES, lambda event: told is not None and told.append(event))


def test_points_come_by_name_of_part(tmp_path) -> None:
    told: list[MessageEvent] = []
    given = read(tmp_path, HEAD + "a/1.png,right eye,1.5,2\n./a/1.png,left eye,3,4\na/1.png,beak,0,0\n", told)
    assert (given.schema.form, given.schema.parts) == ("points", ("beak", "left eye", "right eye"))
    assert given.schema.mirrored == {"left eye": "right eye"}
    assert given.annotated == ["a/1.png"]
    assert given.points.values.tolist() == [["a/1.png", 2, 1.5, 2.0], ["a/1.png", 1, 3.0, 4.0], ["a/1.png", 0, 0, 0]]
    assert [event.text for event in told] == ["parts.csv has points of 1 of 2 images; the others have no parts"]


def test_a_parquet_with_numbers(tmp_path) -> None:
    frame = pd.DataFrame({"path": IMAGES, "part": ["beak"] * 2, "x": [1, 2], "y": [0.5, 1.5]})
    frame.to_parquet(tmp_path / "parts.parquet")
    points = read_points(tmp_path / "parts.parquet", IMAGES, print).points
    assert points[["x", "y"]].values.tolist() == [[1.0, 0.5], [2.0, 1.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,part,x\n", r"parts\.csv has no column 'y'; its columns: path, part, x"),
        (HEAD, r"parts\.csv has no point; add a row for each visible part, or take prepare\.table\.parts away"),
        (HEAD + "a/1.png,beak,1,2\na/1.png,,1,2\n", r"column 'part' is empty in row 3; fill it"),
        (HEAD + "a/1.png,beak,1,north\n", r"row 2: y must be a number of pixels, got 'north'; correct it"),
        (HEAD + "a/1.png,beak,nan,1\n", r"row 2: x must be a number of pixels, got 'nan'; correct it"),
        (
            HEAD + "a/1.png,beak,1,2\na/3.png,beak,1,2\nb.png,beak,1,2\na/3.png,eye,1,2\n",
            r"row 3: 'a/3\.png' is not in the table of images \(and 1 more images\); did you mean 'a/[12]\.png'\?",
        ),
        (HEAD + "/a/1.png,beak,1,2\n", r"row 2: paths must be relative and stay inside"),
        (HEAD + "a/1.png,beak,1,2\na/1.png,beak,3,4\n", r"row 3: 'beak' of a/1\.png stands in row 2 already; keep one"),
    ],
)
def test_a_faulty_table_is_one_line(text, message, tmp_path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_table_names_its_key(tmp_path) -> None:
    (tmp_path / "points.csv").write_text(HEAD)
    with pytest.raises(
        DataError, match=r"no table 'parts\.csv' in .*tables there: points\.csv; set prepare\.table\.par"
    ):
        read_points(tmp_path / "parts.csv", IMAGES, print)
