"""A folder into parquet: rows, bad images, the same bytes after a kill, and what is refused."""

import errno
import json
import os
import signal
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.core.errors import ProtoQuantError, UsageError
from protoquant.core.events import MessageEvent, ProgressEvent, ignore
from protoquant.model.classifier import Model
from protoquant.model.folder import find_images
from protoquant.serving.bulk import bulk
from protoquant.serving.bulk.answer_table import SCHEMA
from tests.builders.models import write_model
from tests.builders.pictures import small, write_pictures

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(bulk, "PART", 8)
    monkeypatch.setattr(bulk, "BATCH", 4)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(path):
    return Model.load(path)


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    write_pictures(root, range(21))
    return root


def run(model, root, out, *, top=2, listen=ignore):
    names = find_images(root).names
    return bulk.predict_folder(model, root=root, names=names, out=out, top=top, workers=2, on_event=listen)


def messages(model, root, out, **given):
    heard = []
    result = run(model, root, out, listen=heard.append, **given)
    return result, [event.text for event in heard if isinstance(event, MessageEvent)]


def test_rows_are_the_answers_of_the_model(model, photos, tmp_path):
    heard = []
    done = run(model, photos, tmp_path / "a.parquet", listen=heard.append)
    rows = pq.read_table(done.out).to_pylist()
    names = find_images(photos).names
    assert [row["image"] for row in rows] == list(names) == sorted(names)
    for start in range(0, 21, 4):
        answers = model.answer([photos / name for name in names[start : start + 4]], 2)
        expected = [{**answer.to_dict(), "error": None} for answer in answers]
        got = [{key: value for key, value in row.items() if key != "image"} for row in rows[start : start + 4]]
        assert got == expected
    assert (done.counts.images, done.counts.errors, done.kept) == (21, {}, 0)
    assert done.counts.abstentions == sum(row["abstains"] for row in rows)
    assert 0 < done.counts.abstentions < 21
    progress = [event.done for event in heard if isinstance(event, ProgressEvent)]
    assert progress == [0, 4, 8, 12, 16, 20, 21]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "photos"]


def test_a_bad_image_is_a_row_with_its_error_and_the_others_are_answered(model, photos, tmp_path):
    alone = {row["image"]: row for row in pq.read_table(run(model, photos, tmp_path / "a.parquet").out).to_pylist()}
    whole = (photos / "a/0000.png").read_bytes()
    (photos / "a/0000.png").write_bytes(whole[:100])
    (photos / "a/text.jpg").write_text("no picture")
    (photos / "z.png").touch()
    done = run(model, photos, tmp_path / "b.parquet")
    table = pq.read_table(done.out)
    assert table.schema.equals(SCHEMA)
    assert done.counts.errors == {"not_an_image": 1, "truncated": 1, "zero_bytes": 1}
    rows = table.to_pylist()
    assert [row["image"] for row in rows if row["error"]] == ["a/0000.png", "a/text.jpg", "z.png"]
    for row in rows:
        if row["error"]:
            assert set(row.values()) == {None, row["image"], row["error"]}
            assert "\n" not in row["error"]
        else:
            assert row["class_name"] == alone[row["image"]]["class_name"]
            assert row["logit"] == pytest.approx(alone[row["image"]]["logit"], abs=1e-4)


def test_a_folder_of_bad_images_is_a_table_of_errors(model, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("no")
    done = run(model, tmp_path / "photos", tmp_path / "a.parquet")
    assert pq.read_table(done.out).schema.equals(SCHEMA)
    assert (done.counts.images, done.counts.errors, done.counts.abstentions) == (1, {"not_an_image": 1}, 0)


@pytest.mark.process
def test_a_killed_run_continues_and_gives_the_bytes_of_an_undisturbed_one(model, path, photos, tmp_path, programs):
    out = tmp_path / "out.parquet"
    script = Path(__file__).with_name("killed_bulk.py")
    killed = subprocess.run(
        [programs / "warm-python", script, str(path), str(photos), str(out), "12"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not out.exists()
    assert sorted(file.name for file in (tmp_path / "out.parquet.parts").glob("*.parquet")) == ["000000.parquet"]
    continued, said = messages(model, photos, out)
    assert continued.kept == 8
    assert said == ["continues an earlier run: 8 of 21 images are done"]
    assert not (tmp_path / "out.parquet.parts").exists()
    undisturbed, said = messages(model, photos, tmp_path / "other.parquet")
    assert said == []
    assert out.read_bytes() == undisturbed.out.read_bytes()
    assert run(model, photos, out).out.read_bytes() == undisturbed.out.read_bytes()


class _StopError(Exception):
    pass


def stop(after):
    def listen(event):
        if isinstance(event, ProgressEvent) and event.done >= after:
            raise _StopError

    return listen


def interrupt(model, photos, out, after):
    with pytest.raises(_StopError):
        run(model, photos, out, listen=stop(after))


def test_a_damaged_part_is_made_again(model, photos, tmp_path):
    out = tmp_path / "out.parquet"
    interrupt(model, photos, out, 16)
    part = tmp_path / "out.parquet.parts" / "000001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert run(model, photos, out).kept == 8
    assert out.read_bytes() == run(model, photos, tmp_path / "other.parquet").out.read_bytes()


@pytest.mark.parametrize("change", ["images", "top", "bundle", "plan"])
def test_another_plan_begins_anew_and_says_why(model, photos, tmp_path, change):
    out, given, other = tmp_path / "out.parquet", {}, model
    interrupt(model, photos, out, 16)
    why = {
        "images": "the images are not the same",
        "top": "the number of contributions is another",
        "bundle": "the model is another",
        "plan": "its plan is damaged",
    }[change]
    if change == "images":
        small(99).save(photos / "a/0002.png")
    if change == "top":
        given = {"top": 1}
    if change == "bundle":
        (tmp_path / "model").mkdir()
        other = Model.load(write_model(tmp_path / "model", below=2.0))
    if change == "plan":
        (tmp_path / "out.parquet.parts" / "plan.json").write_text("{")
    done, said = messages(other, photos, out, **given)
    assert done.kept == 0
    assert [why in text and "beginning anew" in text for text in said] == [True]
    assert out.read_bytes() == run(other, photos, tmp_path / "other.parquet", **given).out.read_bytes()


def test_two_runs_do_not_write_one_file(model, photos, tmp_path):
    (tmp_path / "out.parquet.parts").mkdir()
    with FileLock(tmp_path / "out.parquet.parts" / "lock"), pytest.raises(UsageError, match="another run writes"):
        run(model, photos, tmp_path / "out.parquet")
    (tmp_path / "out.parquet.parts" / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"holds 'mine\.txt', which predict did not write"):
        run(model, photos, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet.parts" / "mine.txt").exists()


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("no/a.parquet", "there is no folder"),
        ("a.xlsx", r"must be a file that ends in \.parquet"),
        ("folder.parquet", r"must be a file that ends in \.parquet"),
        ("read only.parquet", "cannot be written"),
    ],
)
def test_an_impossible_file_is_refused_before_any_work(tmp_path, monkeypatch, out, sentence):
    (tmp_path / "folder.parquet").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "read only" not in out)  # tests may run as root
    with pytest.raises(UsageError, match=sentence):
        bulk.check_out(tmp_path / out)


def test_a_disk_without_room_is_refused_before_any_work(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("protoquant.core.machine.disk.free_bytes", lambda folder: 1 << 30)
    with pytest.raises(ProtoQuantError, match="the answers need 43 kB of disk"):
        run(model, photos, tmp_path / "a.parquet", listen=lambda event: pytest.fail("work has begun"))


def test_a_disk_that_fills_up_is_one_line_and_the_next_run_continues(model, photos, tmp_path, monkeypatch):
    out, written = tmp_path / "a.parquet", []

    def full(rows, file):
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(file)
        write_rows(rows, file)

    write_rows = bulk.write_rows
    monkeypatch.setattr(bulk, "write_rows", full)
    with pytest.raises(ProtoQuantError, match=r"No space left on device\); finished parts are kept"):
        run(model, photos, out)
    monkeypatch.setattr(bulk, "write_rows", write_rows)
    assert run(model, photos, out).kept == 8


def invoke(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words)])


def test_the_verb_writes_a_file_for_a_folder_and_for_files(path, photos, tmp_path):
    (photos / "notes.txt").touch()
    (photos / "bad.png").touch()
    done = invoke(photos, "--out", tmp_path / "a.parquet", "-m", path)
    assert done.exit_code == 0, done.output
    assert "22 images: 1 cannot be read (1 zero_bytes); no known part seen in" in done.stdout
    assert "not named like images: 1" in done.stderr
    told = invoke(photos / "a/0000.png", photos / "no.png", "--out", tmp_path / "b.parquet", "-m", path, "--json")
    summary = json.loads(told.stdout)
    assert summary["errors"] == {"missing": 1}
    rows = pq.read_table(tmp_path / "b.parquet").to_pylist()
    assert [row["image"] for row in rows] == [str(photos / "a/0000.png"), str(photos / "no.png")]


def test_the_verb_fails_where_nothing_can_be_read(path, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    done = invoke(tmp_path / "photos", "--out", tmp_path / "a.parquet", "-m", path)
    assert done.exit_code == 1
    assert "none of the 1 images can be read" in done.stderr
    assert (tmp_path / "a.parquet").exists()


def test_a_folder_needs_a_file_to_write_and_comes_alone(path, photos):
    for words, sentence in (
        ([photos], "say where the answers go: --out FILE.parquet"),
        (["photoz", "--out", "a.parquet"], "photoz is missing; give a folder of images"),
        (["s3://birds/new"], "say where the answers go"),
        ([photos, photos, "--out", "a.parquet"], "give one folder at a time"),
        ([photos, "--out", "a.xlsx"], "must be a file that ends in .parquet, .csv or .jsonl, got a.xlsx"),
    ):
        done = invoke(*words, "-m", path)
        assert done.exit_code == 2
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_the_table_says_where_no_known_part_is_seen(path, photos, model):
    names = find_images(photos).names
    found = dict(zip(names, model.answer([photos / name for name in names]), strict=True))
    abstains = next(name for name, answer in found.items() if answer.abstains)
    answers = next(name for name, answer in found.items() if not answer.abstains)
    assert "no known" in invoke(photos / abstains, "-m", path).stdout
    assert "no known" not in invoke(photos / answers, "-m", path).stdout
    told = json.loads(invoke(photos / abstains, "-m", path, "--json").stdout)
    assert told == [{"image": str(photos / abstains), **model.answer([photos / abstains])[0].to_dict()}]
