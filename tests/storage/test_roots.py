"""`prepare.root: s3://...`: the same artifacts as from disk, the same one-line errors."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.cli.pipeline import config, stages
from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import DataError, StorageError, UsageError
from protoquant.core.events import ignore
from protoquant.core.workspace import Workspace
from protoquant.settings.roots import folder_of
from tests.builders.cub import write_cub
from tests.builders.funnybirds import write_funnybirds
from tests.builders.models import write_model
from tests.builders.pictures import save, small

pytestmark = pytest.mark.server


@pytest.fixture
def photos(tmp_path):
    """A dozen photos of two classes, one broken file, and a table that names them."""
    root, rows = tmp_path / "photos", ["path,label,split"]
    for number in range(12):
        name, split = ("finch", "jay")[number % 2], (*["train"] * 3, "validation", *["test"] * 2)[number // 2]
        path = root / split / name / f"{number}.png"
        save(path, small(number))
        rows.append(f"{path.relative_to(root).as_posix()},{name},{split}")
    (root / "train" / "jay" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (root / "images.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def bucket(store, photos):
    for path in photos.rglob("*"):
        if path.is_file():
            store.put(f"birds/{path.relative_to(photos).as_posix()}", path.read_bytes())
    return store


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Make a workspace of this root and go there."""

    def make(name, root, reader="image_folder"):
        made = Workspace(tmp_path / name)
        made.root.mkdir(exist_ok=True)
        settings = {"threads": 1, "prepare": {"reader": reader, "root": str(root)}}
        made.params.write_text(json.dumps(settings))
        monkeypatch.chdir(made.root)
        return made

    return make


def test_images_and_features_are_those_of_the_same_files_on_disk(bucket, photos, workspace):
    found = {}
    for name, root in (("disk", photos), ("s3", f"s3://{bucket.bucket}/birds/")):
        made = workspace(name, root)
        stages.prepare()
        stages.extract()
        found[name] = (artifact_digest(made.images), artifact_digest(made.features))
        for path in (made.root / "artifacts").rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert str(made.root).encode() not in data
                assert bucket.bucket.encode() not in data
    assert found["disk"] == found["s3"]


def test_a_table_in_s3_is_read_like_one_on_disk(bucket, photos, workspace):
    digests = set()
    for name, root in (("disk", photos), ("s3", f"s3://{bucket.bucket}/birds")):
        made = workspace(name, root, reader="table")
        stages.prepare()
        digests.add(artifact_digest(made.images))
    assert len(digests) == 1


@pytest.mark.parametrize(("reader", "write"), [("cub", write_cub), ("funnybirds", write_funnybirds)])
def test_published_data_with_parts_is_that_of_the_same_files_on_disk(store, tmp_path, workspace, reader, write):
    root = write(tmp_path / reader)
    for path in root.rglob("*"):
        if path.is_file():
            store.put(f"{reader}/{path.relative_to(root).as_posix()}", path.read_bytes())
    found = set()
    for name, place in (("disk", root), ("s3", f"s3://{store.bucket}/{reader}")):
        made = workspace(name, place, reader=reader)
        stages.prepare()
        found.add((artifact_digest(made.images), artifact_digest(made.parts)))
    assert len(found) == 1


def test_prepare_follows_s3_and_later_stages_do_not_ask(bucket, photos, workspace, alone):
    made = workspace("s3", f"s3://{bucket.bucket}/birds")
    stages.prepare()
    before = artifact_digest(made.images)
    alone.delenv("AWS_SECRET_ACCESS_KEY")
    alone.delenv("AWS_ACCESS_KEY_ID")
    stages.extract()
    for name, value in bucket.variables.items():
        alone.setenv(name, value)
    bucket.put("birds/train/jay/20.png", (photos / "train" / "jay" / "1.png").read_bytes()[::-1])
    bucket.put("birds/test/jay/9.png", (photos / "test" / "jay" / "11.png").read_bytes())
    stages.prepare()
    assert artifact_digest(made.images) != before


def test_an_error_names_the_folder_in_s3_not_its_copy(bucket, workspace):
    workspace("s3", f"s3://{bucket.bucket}/birds/train/jay")
    with pytest.raises(DataError) as caught:
        stages.prepare()
    assert f"s3://{bucket.bucket}/birds/train/jay" in str(caught.value)
    assert "/files" not in str(caught.value)


def test_config_check_asks_s3_one_question(bucket, workspace, alone, capsys):
    made = workspace("s3", f"s3://{bucket.bucket}/birds")
    config.check()
    assert capsys.readouterr().out == "params.yaml is valid\n"
    assert not made.object_cache.exists()
    for root, reader, said in [
        (f"s3://{bucket.bucket}/brids", "image_folder", "did you mean 'birds'?"),
        (f"s3://{bucket.bucket}zz/birds", "image_folder", f"did you mean '{bucket.bucket}'?"),
        ("S3:/data", "image_folder", "prepare.root (params.yaml) must be s3://bucket/prefix, got 'S3:/data'"),
        (f"s3://{bucket.bucket}/birds", "partbirds", "prepare.root must be the file of a spec with reader partbirds"),
    ]:
        workspace("s3", root, reader)
        for verb in (config.check, stages.prepare):
            with pytest.raises(UsageError) as caught:
                verb()
            assert said in str(caught.value)
    alone.setenv("AWS_SECRET_ACCESS_KEY", "other")
    workspace("s3", f"s3://{bucket.bucket}/birds")
    with pytest.raises(StorageError, match="the secret key does not fit the access key"):
        config.check()


def test_a_command_reads_a_folder_in_s3_by_its_present_state(bucket, photos, tmp_path):
    made, uri = Workspace(tmp_path / "here"), f"s3://{bucket.bucket}/birds/"
    made.root.mkdir()
    found = folder_of(uri, made, 2, ignore)
    held = {path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()}
    assert held == {
        path.relative_to(photos).as_posix(): path.read_bytes() for path in photos.rglob("*") if path.is_file()
    }
    bucket.delete("birds/images.csv")
    assert folder_of(uri, made, 2, ignore) == found
    assert not (found / "images.csv").exists()
    assert folder_of("photos", made, 2, ignore) == Path("photos")
    with pytest.raises(UsageError, match="no-such"):
        folder_of("s3://no-such/birds", made, 2, ignore)


def test_predict_and_drift_read_a_folder_in_s3(bucket, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    bundle, uri = str(write_model(tmp_path / "model")), f"s3://{bucket.bucket}/birds/"
    done = CliRunner().invoke(app, ["predict", uri, "--out", "a.parquet", "-m", bundle])
    assert done.exit_code == 0, done.output
    rows = pq.read_table("a.parquet").to_pylist()
    assert [row["image"] for row in rows] == sorted(
        path.relative_to(photos).as_posix() for path in photos.rglob("*.png")
    )
    assert [row["image"] for row in rows if row["error"]] == ["train/jay/broken.png"]
    assert CliRunner().invoke(app, ["predict", str(photos), "--out", "b.parquet", "-m", bundle]).exit_code == 0
    assert Path("a.parquet").read_bytes() == Path("b.parquet").read_bytes()
    done = CliRunner().invoke(app, ["drift", uri, "--out", "drift", "-m", bundle])
    assert done.exit_code == 0, done.output
    assert "In 12 new images, few enough that little can be told" in done.stdout
    done = CliRunner().invoke(app, ["predict", "s3://no-such/birds", "--out", "c.parquet", "-m", bundle])
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
