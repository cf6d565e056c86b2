"""Files that params.yaml names as inputs of stages; under DVC, those of code are in tests/integration/test_code."""

import hashlib
import os
from pathlib import Path

import pytest

from protoquant.core.artifacts import digest_file, read_json
from protoquant.core.errors import UsageError
from protoquant.pipeline import code
from protoquant.pipeline.code import STEPS, StageCode, write_code
from protoquant.pipeline.named_files import file_digests

KEY = "extract.weights_file"


def params(name: object) -> dict[str, object]:
    return {"prepare": {"exclude": None}, "extract": {"weights_file": name}}


def test_the_digest_is_that_of_the_bytes_at_a_relative_or_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    expected = {KEY: hashlib.sha256(b"weights").hexdigest()}
    assert file_digests(params("w.pth"), tmp_path) == {"prepare": {}, "extract": expected}
    assert file_digests(params(str(tmp_path / "w.pth")), Path("/nowhere"))["extract"] == expected
    excluded = file_digests({"prepare": {"exclude": "w.pth"}}, tmp_path)
    assert excluded == {"prepare": {"prepare.exclude": expected[KEY]}, "extract": {}}


@pytest.mark.parametrize(
    "values",
    [
        params("absent.pth"), params("."), params(None), params(""), params(3),
        {}, {"extract": None}, {"extract": [1]}, None, [], "text",
    ],
)  # fmt: skip
def test_where_no_file_is_read_there_is_no_digest(values: object, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    assert file_digests(values, tmp_path) == {"prepare": {}, "extract": {}}


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^extract\.weights_file: 'a{80}' cannot be read \(.*\); give a file that you"
    ):
        file_digests(params("a" * 5000), tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    (tmp_path / "w.pth").chmod(0)
    with pytest.raises(UsageError, match=r"^extract\.weights_file: 'w\.pth' cannot be read \(Permission denied\)"):
        file_digests(params("w.pth"), tmp_path)


def test_another_file_changes_the_input_of_extract_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "read_code", lambda: dict.fromkeys(STEPS, StageCode({}, {"a.css": "b"}, {})))
    out, told = tmp_path / "code", []
    write_code(out, told.append)
    plain = {path.name: digest_file(path) for path in out.glob("*.json")}
    write_code(out, told.append, {"extract": {}})
    assert {path.name: digest_file(path) for path in out.glob("*.json")} == plain, "without a file nothing changes"
    for digest in ("1" * 64, "2" * 64):
        write_code(out, told.append, {"extract": {KEY: digest}})
        assert read_json(out / "extract.json")["files"] == {"a.css": "b", KEY: digest}
        changed = {path.name for path in out.glob("*.json") if digest_file(path) != plain[path.name]}
        assert changed == {"extract.json"}
    assert told[-1].text == "code changed: extract.weights_file; used by extract"
    write_code(out, told.append)
    assert {path.name: digest_file(path) for path in out.glob("*.json")} == plain
