"""Artifacts: atomic, byte-stable, checked by digest."""

import errno
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch

from protoquant.core import artifacts
from protoquant.core.errors import ArtifactError


def write(out: Path, text: str = "hello") -> Path:
    with artifacts.writing(out, "example", {"images": "abc"}, size=3) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "text.txt").write_text(text)
        artifacts.save_tensors(folder / "tensors.safetensors", {"b": torch.arange(3), "a": torch.ones(2, 2)})
        artifacts.write_table(folder / "table.parquet", pd.DataFrame({"name": ["x", "y"], "n": [1, 2]}))
    return out


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest = artifacts.open_artifact(write(tmp_path / "out"), "example")
    assert manifest.inputs == {"images": "abc"}
    assert manifest.extra == {"size": 3}
    assert set(manifest.files) == {"inner/text.txt", "tensors.safetensors", "table.parquet"}
    assert artifacts.load_tensors(tmp_path / "out" / "tensors.safetensors")["b"].tolist() == [0, 1, 2]
    assert artifacts.read_table(tmp_path / "out" / "table.parquet").n.tolist() == [1, 2]


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert artifacts.artifact_digest(first) == artifacts.artifact_digest(second)
    assert artifacts.artifact_digest(write(tmp_path / "c", "other")) != artifacts.artifact_digest(first)


@pytest.mark.parametrize("name", ["inner/text.txt", "tensors.safetensors", "table.parquet"])
def test_one_flipped_bit_is_found_and_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "out") / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{name} is damaged"):
        artifacts.open_artifact(tmp_path / "out", "example")


def test_a_truncated_file_is_found_without_digests(tmp_path: Path) -> None:
    (write(tmp_path / "out") / "inner" / "text.txt").write_text("hell")
    with pytest.raises(ArtifactError, match=r"text\.txt is damaged"):
        artifacts.open_artifact(tmp_path / "out", "example", verify=False)


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no example at .*manifest\.json is missing; run the stage"):
        artifacts.open_artifact(tmp_path / "none", "example")
    (write(tmp_path / "out") / "table.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"table\.parquet is missing"):
        artifacts.open_artifact(tmp_path / "out", "example")


def test_a_changed_manifest_is_found(tmp_path: Path) -> None:
    manifest = write(tmp_path / "out") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"size": 3', '"size": 4'))
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        artifacts.open_artifact(tmp_path / "out", "example")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="must hold 'codebook', schema 1; it holds 'example', schema 1"):
        artifacts.open_artifact(write(tmp_path / "out"), "codebook")


def test_a_manifest_cannot_name_a_file_outside(tmp_path: Path) -> None:
    out = write(tmp_path / "out")
    raw = artifacts.read_json(out / "manifest.json")
    del raw["sha256"]
    raw["files"]["../secret"] = {"sha256": "", "bytes": 0}
    artifacts.write_json(out / "manifest.json", {**raw, "sha256": artifacts.digest_json(raw)})
    with pytest.raises(ArtifactError, match="names a file outside its folder"):
        artifacts.open_artifact(out, "example")


def test_an_interrupted_write_leaves_the_older_artifact(tmp_path: Path) -> None:
    out = write(tmp_path / "out")
    before = artifacts.artifact_digest(out)

    def interrupted() -> None:
        with artifacts.writing(out, "example") as folder:
            (folder / "half").write_text("h")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert artifacts.artifact_digest(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_disk_that_refuses_the_last_bytes_leaves_the_older_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write(tmp_path / "out")
    before = artifacts.artifact_digest(out)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(out, "other")
    assert artifacts.artifact_digest(out) == before


@pytest.mark.process
def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f".out-{gone.pid}-abc").mkdir()
    (tmp_path / f".out-{os.getpid()}-abc").mkdir()
    write(tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out", f".out-{os.getpid()}-abc"}


def test_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"metrics\.json would hold a number that is not finite"):
        artifacts.write_json(tmp_path / "metrics.json", {"loss": float("nan")})


def test_rounding_reaches_every_number() -> None:
    assert artifacts.rounded({"a": [0.1234567891, float("inf")], "b": "x", "c": 3}) == {
        "a": [0.123457, None],
        "b": "x",
        "c": 3,
    }


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (artifacts.read_json, "x.json"),
        (artifacts.read_table, "x.parquet"),
        (artifacts.load_tensors, "x.safetensors"),
    ],
)
def test_readers_name_a_missing_or_damaged_file(tmp_path: Path, read, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(b"\x80rubbish")
    with pytest.raises(ArtifactError, match=f"{name} is damaged"):
        read(tmp_path / name)


def test_a_file_that_the_stage_did_not_write_is_refused(tmp_path: Path) -> None:
    (write(tmp_path / "out") / "inner" / "added.png").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"holds a file that its stage did not write: inner/added\.png"):
        artifacts.open_artifact(tmp_path / "out", "example")


def test_a_digest_that_is_known_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, known, read = artifacts.digest_bytes(b"large"), {}, []
    monkeypatch.setattr(artifacts, "digest_file", lambda path: read.append(path.name) or artifacts.digest_bytes(b"s"))
    with artifacts.writing(tmp_path / "out", "example", known_digests=known) as folder:
        (folder / "in").mkdir()
        (folder / "in/large").write_bytes(b"large")
        (folder / "small").write_bytes(b"s")
        known["in/large"] = digest
    monkeypatch.undo()
    assert read == ["small"]
    manifest = artifacts.open_artifact(tmp_path / "out", "example")
    assert manifest.files["in/large"] == {"sha256": digest, "bytes": 5}
