import hashlib
from pathlib import Path

import pytest

from protoquant.core.errors import DataError
from protoquant.data.checks import Checked, ImageEntry
from protoquant.data.exclusions import Exclusions
from protoquant.data.quarantine import Reason, Rejected

DIGEST = hashlib.sha256(b"a").hexdigest()
HEADER = "path,sha256,reason\n"


def table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    file = folder / "exclude.csv"
    file.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8-sig")
    return file


def checked(name: str, digest: str = DIGEST) -> Checked:
    return Checked(ImageEntry(name, "cat", None), digest, b"", 40, 40)


def test_a_row_leaves_out_the_file_of_that_path_and_digest_alone(tmp_path: Path) -> None:
    given = Exclusions.read(table(tmp_path, f"a.png,{DIGEST.upper()},a dog", f"b.png,{DIGEST}, not\tsharp "))
    images = [checked("a.png"), checked("b.png", "0" * 64), checked("c.png")]
    stay, leave = given.part(images)
    assert ([one.entry.image_id for one in stay], leave) == (["b.png", "c.png"], [images[0]])
    assert given.rejected(leave) == [Rejected("a.png", Reason.EXCLUDED, "is excluded by hand: a dog")]
    assert given.reasons["b.png"] == "not sharp"


def test_an_image_may_have_several_reasons_and_a_table_other_columns(tmp_path: Path) -> None:
    rows = [f"a.png,{DIGEST},{reason},dog" for reason in ("blurred", "a dog", "blurred")]
    given = Exclusions.read(table(tmp_path, *rows, header="path,sha256,reason,class\n"))
    assert given.reasons == {"a.png": "blurred; a dog"}


def test_rows_that_change_nothing_are_said_with_the_reason(tmp_path: Path) -> None:
    given = Exclusions.read(table(tmp_path, *(f"{name}.png,{DIGEST},x" for name in "abcd")))
    rejected = [Rejected("a.png", Reason.EXCLUDED, ""), Rejected("b.png", Reason.DUPLICATE, "")]
    assert given.idle(rejected, {"a.png", "b.png", "c.png"}) == (
        "prepare.exclude: 3 rows (b.png, which is duplicate already, c.png, whose bytes have changed, "
        "d.png, which is no image here) not applied; look at them again"
    )
    assert Exclusions.read(None).idle(rejected, set()) == ""


@pytest.mark.parametrize(
    ("rows", "header", "sentence"),
    [
        ([f"a.png,{DIGEST}"], "path,sha256\n", r"has no column 'reason'; its columns: path, sha256$"),
        ([f"a.png;{DIGEST};x"], "path;sha256;reason\n", r"seem to be separated by ';'; write ',' there$"),
        (["a.png,123,x"], HEADER, r"row 2: sha256 must be 64 hexadecimal digits, got '123'"),
        ([f"a.png,{DIGEST},"], HEADER, r"column 'reason' is empty in row 2"),
        (
            [f"a.png,{DIGEST},x", f"a.png,{'0' * 64},x"],
            HEADER,
            r"names 'a\.png' with two digests; keep that of the file",
        ),
    ],
)
def test_a_table_that_is_none_is_one_line(rows: list[str], header: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence) as error:
        Exclusions.read(table(tmp_path, *rows, header=header))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^prepare\.exclude: there is no file .*absent\.csv; correct the path"):
        Exclusions.read(tmp_path / "absent.csv")
