import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from protoquant.core.errors import DataError
from protoquant.data.config import PrepareConfig, TableConfig
from protoquant.data.readers.listing import Listing
from protoquant.data.readers.table import read

SHARED = Path(__file__).parents[4] / "shared/data"


def listed(root: Path, **table: str) -> Listing:
    return read(
        root, config=PrepareConfig(reader="table", root=str(root), table=TableConfig(**table) if table else None)
    )


def rows(listing: Listing) -> list[tuple[str, str, str | None]]:
    return list(listing.frame.itertuples(index=False, name=None))


def test_a_csv_without_splits(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("label,path\nrobin , ./a/1.jpg\nNA,a/../b/2.jpg\n10,3.jpg\n9,4.jpg\n")
    listing = listed(tmp_path)
    wanted = [("a/1.jpg", "robin", None), ("b/2.jpg", "NA", None), ("3.jpg", "10", None), ("4.jpg", "9", None)]
    assert rows(listing) == wanted
    assert listing.class_names() == ("9", "10", "NA", "robin")
    assert listing.image_root == tmp_path


def test_a_csv_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    text = "path,label,split\r\n1.jpg,Mésange,Train\r\n2.jpg,Mésange,VAL\r\n3.jpg,Mésange,test \r\n"
    (tmp_path / "images.csv").write_bytes(text.encode("utf-8-sig"))
    assert [row[2] for row in rows(listed(tmp_path))] == ["train", "validation", "test"]


def test_a_parquet_with_its_own_columns_and_integer_labels(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["1.jpg", "2.jpg"], "species": [10, 9], "fold": ["train", "test"], "other": [1, 2]})
    frame.to_parquet(tmp_path / "birds.parquet")
    listing = listed(tmp_path, file="birds.parquet", path="file", label="species", split="fold")
    assert rows(listing) == [("1.jpg", "10", "train"), ("2.jpg", "9", "test")]


@pytest.mark.parametrize(
    "path", ["/etc/passwd.jpg", "../a.jpg", "a/../../b.jpg", "..", ".", "C:\\x.jpg", "C:x.jpg", "a\0b.jpg"]
)
def test_a_path_that_leaves_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    pd.DataFrame({"path": ["fine.jpg", path], "label": ["a", "b"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet, row 2: paths must be relative and stay inside .*; correct it"):
        listed(tmp_path, file="t.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,labels\n1.jpg,a\n",
            r"images\.csv has no column 'label'; did you mean 'labels'\?; its columns: path, labels",
        ),
        (
            "path;label\n1.jpg;a\n",
            r"seem to be separated by ';'; set prepare\.table\.separator: \";\" \(params\.yaml\)",
        ),
        ("file,label\n1.jpg,a\n", r"its columns: file, label; if another column holds it, set prepare\.table\.path"),
        ("path,label,label\n1.jpg,a,b\n", r"has 2 columns called 'label'; rename all but one"),
        ("path,label\n", r"has no row below its header; write one for each image"),
        ("path,label\n1.jpg,\n", r"images\.csv: column 'label' is empty in row 2; fill it"),
        ("path,label\n1.jpg,a\n ,a\n", r"column 'path' is empty in row 3"),
        ("path,label,split\n1.jpg,a,train\n2.jpg,a,\n", r"column 'split' is empty in row 3"),
        (
            "path,label,split\n1.jpg,a,trian\n",
            r"row 2: a split must be one of train, validation, test, got 'trian'; did you mean 'train'",
        ),
        ("path,label\n1.jpg,a\n./1.jpg,b\n", r"row 3: '\./1\.jpg' stands in row 2 already; keep one"),
        (
            'path,label\n"1.jpg,a\n',
            r"cannot be read as CSV in UTF-8 with cells separated by ',' \(.+\); write it again",
        ),
        ("path,label\na,b.jpg,cat\n", r"\(row 2 has 3 cells, the header 2\); write it again"),
        (
            "path;label;w\n1.jpg;a;0,5\n",
            r"the header 1; its cells seem to be separated by ';'; set prepare\.table\.separator",
        ),
        ("path,label\n\n1.jpg,a\n2.jpg\n", r"\(row 3 has 1 cells, the header 2\)"),
        ("", r"images\.csv has no column 'path'"),
    ],
)
def test_a_faulty_table_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        listed(tmp_path)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_bytes(b"path,label\n\xff\xfe,a\n")
    with pytest.raises(DataError, match="cannot be read as CSV in UTF-8"):
        listed(tmp_path)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        listed(tmp_path, file="t.parquet")


def test_a_split_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("path,label\n1.jpg,a\n")
    assert rows(listed(tmp_path)) == [("1.jpg", "a", None)]
    with pytest.raises(DataError, match="has no column 'fold'"):
        listed(tmp_path, split="fold")


def test_a_missing_folder_or_table_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no table 'images\.csv' in .*; there is no \.csv or \.parquet file in it"):
        listed(tmp_path)
    (tmp_path / "birds.csv").write_text("path,label\n")
    with pytest.raises(DataError, match=r"tables there: birds\.csv; set prepare\.table\.file \(params\.yaml\)"):
        listed(tmp_path)
    with pytest.raises(DataError, match=r"birds\.csv is a file; give its folder, and its name as prepare\.table\.file"):
        listed(tmp_path / "birds.csv")
    with pytest.raises(DataError, match="does not exist; correct it"):
        listed(tmp_path / "absent")


def test_points_of_a_second_table_come_with_the_images(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("path,label\na/1.jpg,a\nb/2.jpg,b\n")
    (tmp_path / "points.csv").write_text("path,part,x,y\nb/2.jpg,beak,3,4\na/1.jpg,beak,1,2\n")
    parts = listed(tmp_path, parts="points.csv").parts
    assert parts is not None
    assert parts.points is not None
    assert parts.points["image_id"].tolist() == ["b/2.jpg", "a/1.jpg"]
    assert listed(tmp_path).parts is None


@pytest.mark.skipif(not (SHARED / "birds50-parts.csv").is_file(), reason="the photos of birds50 are not here")
def test_real_photos_with_their_points(tmp_path: Path) -> None:
    """As a user would: a table of the photos is written, and the points are copied beside it."""
    for split in ("train", "test"):
        (tmp_path / split).symlink_to(SHARED / "birds50" / split)
    paths = sorted(path.relative_to(SHARED / "birds50").as_posix() for path in SHARED.glob("birds50/*/*/*.jpg"))
    lines = [f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in paths]
    (tmp_path / "images.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    shutil.copy(SHARED / "birds50-parts.csv", tmp_path)
    listing = listed(tmp_path, parts="birds50-parts.csv")
    assert listing.parts is not None
    assert listing.parts.points is not None
    assert (len(listing.class_names()), len(listing.parts.points)) == (50, 35359)
    assert set(listing.parts.annotated) <= set(listing.frame["path"])
    assert listing.parts.schema.mirrored == {f"left {name}": f"right {name}" for name in ("eye", "leg", "wing")}
    first = listing.parts.annotated[0]
    with Image.open(tmp_path / first) as photo:
        own = listing.parts.points.query("image_id == @first")
        assert own[["x", "y"]].max().max() <= max(photo.size)


def test_cells_may_be_separated_otherwise(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("path;label\n1.jpg;a,b\n")
    assert rows(listed(tmp_path, separator=";")) == [("1.jpg", "a,b", None)]


def test_backslashes_are_slashes_where_no_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("path,label\na\\1.jpg,a\nb\\2.jpg,b\n")
    (tmp_path / "b\\2.jpg").touch()
    assert [row[0] for row in rows(listed(tmp_path))] == ["a/1.jpg", "b\\2.jpg"]


def test_a_path_is_found_in_the_other_normal_form_of_unicode(tmp_path: Path) -> None:
    composed, split = "m\u00f6we/\u00e9.jpg", "mo\u0308we/e\u0301.jpg"
    (tmp_path / "mo\u0308we").mkdir()
    (tmp_path / split).touch()
    (tmp_path / "images.csv").write_text(f"path,label\n{composed},a\nm\u00f6we/absent.jpg,b\n", encoding="utf-8")
    assert [row[0] for row in rows(listed(tmp_path))] == [split, "m\u00f6we/absent.jpg"]
    (tmp_path / "images.csv").write_text(f"path,label\n{composed},a\n{split},b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"row 3: .* stands in row 2 already"):
        listed(tmp_path)
