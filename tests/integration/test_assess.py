"""``protoquant assess``: the same numbers as the pipeline's on the same images, and what it says of bad input."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from protoquant.core.artifacts import read_json, read_table
from protoquant.core.workspace import Workspace
from tests.workspaces import Job

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def photos(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images in class-named folders, one of them cut short."""
    images = Workspace(job.root).images
    table = read_table(images / "test" / "images.parquet")
    root = tmp_path_factory.mktemp("photos")
    for image_id, name in zip(table["image_id"], table["class_name"], strict=True):
        (root / name).mkdir(exist_ok=True)
        shutil.copyfile(images / image_id, root / name / Path(image_id).name)
    first = min(root.rglob("*.png"))
    first.with_name("cut.png").write_bytes(first.read_bytes()[:200])
    return root


def test_the_numbers_of_the_pipeline(job: Job, tmp_path: Path) -> None:
    words = ["assess", "data/partbirds.yaml", "--reader", "partbirds", "--split", "test"]
    numbers = json.loads(job.run("protoquant", *words, "--out", str(tmp_path / "out"), "--json").stdout)
    measured = read_json(Workspace(job.root).metrics)
    assert numbers["top1"]["value"] == pytest.approx(measured["top1"], abs=1e-4)
    assert numbers["top1"]["n"] == measured["n"]
    assert numbers["ece"] == pytest.approx(measured["ece"], abs=1e-4)


def test_a_bad_image_is_named_and_the_others_are_measured(job: Job, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = "models:/protoquant@challenger"
    done = job.run("protoquant", "assess", str(photos), "-m", model, "--out", str(out), "--json")
    numbers = json.loads(done.stdout)
    answers = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    bad = answers[answers["error"] != ""]
    assert numbers["unreadable"] == len(bad) == 1
    assert f"1 of {len(answers)} images cannot be read; the first: " in done.stderr
    assert f"{out}/predictions.csv names them all" in done.stderr.replace("\n", "")
    assert bad["image_id"].iloc[0].endswith("cut.png")
    assert "ends early" in bad["error"].iloc[0]
    right = answers[answers["error"] == ""]
    assert numbers["top1"]["n"] == len(right)
    assert numbers["top1"]["value"] == pytest.approx((right["class"] == right["predicted"]).mean())
    confusions = pd.read_csv(out / "confusions.csv")
    assert confusions["images"].sum() == (right["class"] != right["predicted"]).sum()


def test_what_it_says_of_bad_input(job: Job, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    folder = next(path for path in sorted(other.iterdir()))
    folder.rename(folder.with_name(folder.name + "s"))
    for words, sentence in (
        ([str(other)], f"that the model does not know; did you mean {folder.name!r}?"),
        ([str(photos), "--split", "test"], "has no image of split test"),
        (["nowhere"], "there is no nowhere"),
    ):
        done = job.run("protoquant", "assess", *words, "--out", str(tmp_path / "no"), check=False)
        assert done.returncode != 0
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "no").exists()
