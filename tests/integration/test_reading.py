"""The reading verbs and their Python twins, on a trained model, and what they say of bad input."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import protoquant
from protoquant.core.artifacts import read_table
from protoquant.core.workspace import Workspace
from tests.workspaces import Job

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def photo(job: Job) -> Path:
    images = Workspace(job.root).images
    return images / read_table(images / "test" / "images.parquet")["image_id"].iloc[0]


@pytest.fixture(scope="module")
def model(job: Job) -> str:
    return str(Workspace(job.root).bundle)


def test_predict_answers_alike_from_bundle_registry_and_python(job: Job, photo: Path, model: str) -> None:
    from_bundle = json.loads(job.run("protoquant", "predict", str(photo), "--json").stdout)
    uri = "models:/protoquant@challenger"
    from_registry = json.loads(job.run("protoquant", "predict", str(photo), "--json", "--model", uri).stdout)
    from_python = protoquant.load(model).predict([photo])[0]
    assert from_bundle == from_registry
    assert from_bundle[0]["class_name"] == from_python.class_name
    assert from_bundle[0]["logit"] == pytest.approx(from_python.logit, abs=1e-5)


def test_explain_writes_a_picture_and_contributions_that_sum_to_the_logit(
    job: Job, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "why.png"
    told = json.loads(job.run("protoquant", "explain", str(photo), "--json", "--out", str(out)).stdout)
    assert sum(part["contribution"] for part in told["contributions"]) == pytest.approx(told["logit"], abs=1e-5)
    assert all(part["contribution"] == pytest.approx(part["score"] * part["weight"]) for part in told["contributions"])
    with Image.open(out) as picture:
        assert min(picture.size) > 200
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 1000
    assert "sum to the logit" in job.run("protoquant", "explain", str(photo), "--out", str(out)).stdout


def test_the_good_images_are_classified_beside_a_bad_one(job: Job, photo: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("no picture")
    done = job.run("protoquant", "predict", str(text), str(photo), "--json", check=False)
    bad, good = json.loads(done.stdout)
    assert done.returncode == 1
    assert "notes.jpg" in bad["error"]
    assert good["class_name"]
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_flipped_byte_is_found_and_nothing_is_predicted(job: Job, photo: Path, model: str, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(model, copy, copy_function=shutil.copyfile)
    assert "is whole" in job.run("protoquant", "verify", str(copy)).stdout
    tensors = copy / "tensors.safetensors"
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    for words in (["verify", str(copy)], ["predict", str(photo), "--model", str(copy)]):
        done = job.run("protoquant", *words, check=False)
        assert done.returncode == 1
        assert "tensors.safetensors is damaged" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not done.stdout


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["predict", "x.png", "-m", "models:/protoqant@challenger"], 2, "did you mean 'protoquant'?"),
        (["predict", "x.png", "-m", "models:/protoquant@champion"], 2, "aliases: challenger"),
        (["predict", "x.png", "-m", "nowhere"], 1, "no bundle at nowhere"),
        (["explain", "missing.png"], 1, "missing.png"),
        (["explain", "data"], 2, "data is a folder; give the path of an image file"),
        (["explain", "data/partbirds.yaml", "--class", "nobird"], 2, "the model knows no 'nobird'"),
        (["explain", "missing.png", "--out", "why.jpg"], 2, "must be a file that ends in .png"),
        (["explain", "missing.png", "--out", "no/where.png"], 2, "there is no folder"),
    ],
)
def test_wrong_use_is_one_line(job: Job, words: list[str], code: int, sentence: str) -> None:
    done = job.run("protoquant", *words, check=False)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_settings_in_force_are_shown(job: Job) -> None:
    shown = json.loads(job.run("protoquant", "config", "show", "--json").stdout)
    assert shown["register"]["alias"] == "challenger"
    assert "patch" in job.run("protoquant", "config", "show").stdout


def test_the_cache_lists_its_shards_and_lets_go_of_them(job: Job) -> None:
    shown = json.loads(job.run("protoquant", "cache", "list", "--json").stdout)
    assert len(shown) >= 3
    assert all(entry["backbone"] == "tf_efficientnet_lite0" for entry in shown)
    assert "kept" in job.run("protoquant", "cache", "prune", "--older-than", "1").stdout


def test_a_backbone_is_inspected_without_its_weights(job: Job) -> None:
    told = json.loads(job.run("protoquant", "backbones", "inspect", "test_vit2", "--json").stdout)
    assert told["prefix_tokens"] >= 1
    assert told["grid"][0] * told["grid"][1] == told["patch_tokens"]
    assert "test_vit2" in job.run("protoquant", "backbones", "list", "test_*").stdout
    done = job.run("protoquant", "backbones", "inspect", "test_vitt", check=False)
    assert done.returncode == 2
    assert "did you mean" in done.stderr
