import json
import re
import shutil
from dataclasses import replace
from typing import get_args

import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import FeatureNormName
from protoquant.codebook.space.feature_norm import fit_feature_norm
from protoquant.core.artifacts import (
    MANIFEST,
    digest_file,
    digest_json,
    load_tensors,
    read_table,
    save_tensors,
    write_table,
    writing,
)
from protoquant.core.errors import ArtifactError
from protoquant.core.events import ignore
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import TrainConfig
from protoquant.head.train import train
from protoquant.model.bundle import Bundle

pytestmark = pytest.mark.model

CPU, D = torch.device("cpu"), 16


@pytest.fixture
def path(features, images, codebook, tmp_path):
    config = TrainConfig(
        codes="free",
        mixture=None,
        temperature=0.1,
        solver="proximal",
        budget=None,
        choice=None,
        joint=None,
        points=4,
        ratio=0.05,
        crops=1,
    )
    out = tmp_path / "bundle"
    arguments = {"images": images, "root": tmp_path, "features": features, "codebook": codebook, "out": out}
    train(config, **arguments, device=CPU, seed=0, on_event=ignore)
    return out


def reseal(path) -> None:
    """Make the manifest agree with changed files, as one would who means harm."""
    manifest = json.loads((path / MANIFEST).read_text())
    for name in manifest["files"]:
        file = path / name
        manifest["files"][name] = {"sha256": digest_file(file), "bytes": file.stat().st_size}
    del manifest["sha256"]
    (path / MANIFEST).write_text(json.dumps({**manifest, "sha256": digest_json(manifest)}))


def edit_card(path, **values) -> None:
    card = json.loads((path / "model.json").read_text()) | values
    (path / "model.json").write_text(json.dumps({key: value for key, value in card.items() if value != "gone"}))
    reseal(path)


def test_round_trip(path, features, tmp_path) -> None:
    bundle = Bundle.open(path)
    assert bundle.classes == ("auk", "bee-eater", "crane")
    assert bundle.temperature == 0.1
    assert bundle.grid == (2, 3)
    assert bundle.backbone == FeatureStore.open(features / "train").backbone
    assert bundle.params["train"]["points"] == 4
    assert bundle.head.shape == (3, bundle.codebook.k)
    assert bundle.prototypes.tolist() == sorted(set(bundle.provenance["code"]))
    folder = tmp_path / "again"
    folder.mkdir()
    bundle.save(folder, read_path(path))
    for name in ("tensors.safetensors", "model.json", "provenance.parquet", "metrics.json", "path.csv"):
        assert (folder / name).read_bytes() == (path / name).read_bytes(), name


@pytest.mark.parametrize("name", get_args(FeatureNormName))
def test_every_feature_space_is_kept(path, tmp_path, name) -> None:
    bundle, tokens = Bundle.open(path), torch.randn(8, 6, D, generator=torch.Generator().manual_seed(0))
    norm = fit_feature_norm(name, [tokens.reshape(48, D)], CPU)
    with writing(tmp_path / "again", "bundle") as folder:
        changed = replace(bundle, codebook=Codebook(bundle.codebook.codes, norm, bundle.codebook.class_of_code))
        changed.save(folder, read_path(path))
    opened = Bundle.open(tmp_path / "again")
    assert torch.equal(opened.codebook.similarity(tokens), changed.codebook.similarity(tokens))


def read_path(path):
    return pd.read_csv(path / "path.csv")


def test_one_flipped_byte_anywhere_is_found_and_named(path, tmp_path) -> None:
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    assert "crops/00000-0.png" in names
    for name in names:
        broken = tmp_path / "broken"
        shutil.copytree(path, broken)
        data = bytearray((broken / name).read_bytes())
        data[len(data) // 2] ^= 1
        (broken / name).write_bytes(data)
        with pytest.raises(ArtifactError, match=f"{re.escape(name)} is damaged"):
            Bundle.open(broken)
        shutil.rmtree(broken)


def test_missing_file_is_named(path) -> None:
    (path / "provenance.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"provenance\.parquet is missing"):
        Bundle.open(path)


def test_missing_bundle_says_what_to_do(tmp_path) -> None:
    with pytest.raises(ArtifactError, match=r"no bundle at .*run the stage"):
        Bundle.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"temperature": "gone"}, "temperature: Field required"),
        ({"temperature": 0.0}, "temperature: Input should be greater than 0"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"classes": ["auk", "bee-eater"]}, r"head must be float32 \(2, 8\), got torch\.float32 \(3, 8\)"),
        ({"feature_norm": "whiten"}, "feature_norm 'whiten'"),
        ({"backbone": {"name": "x"}}, "backbone holds other keys"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(path, values, text) -> None:
    edit_card(path, **values)
    with pytest.raises(ArtifactError, match=text):
        Bundle.open(path)


def test_a_card_that_is_not_json_is_refused(path) -> None:
    (path / "model.json").write_text("!!python/object/apply:os.system ['true']")
    reseal(path)
    with pytest.raises(ArtifactError, match=r"model\.json is damaged: not JSON"):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda tensors: tensors.pop("head"), "must hold head, got codes"),
        (lambda tensors: tensors.pop("codes"), "must hold codes, got"),
        (lambda tensors: tensors.update(more=torch.ones(1)), "with tensors"),
        (lambda tensors: tensors["head"].neg_(), "finite and >= 0"),
        (lambda tensors: tensors["head"].fill_(float("nan")), "finite and >= 0"),
        (lambda tensors: tensors["codes"].mul_(2), "every code must have norm 1"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(path, change, text) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_tensors(path / "tensors.safetensors").items()}
    change(tensors)
    save_tensors(path / "tensors.safetensors", tensors)
    reseal(path)
    with pytest.raises(ArtifactError, match=text):
        Bundle.open(path)


def test_provenance_must_fit_the_head(path) -> None:
    table = read_table(path / "provenance.parquet")
    write_table(path / "provenance.parquet", table[table["code"] != table["code"].iloc[0]])
    reseal(path)
    with pytest.raises(ArtifactError, match="must list every prototype of the head and no other code"):
        Bundle.open(path)
    write_table(path / "provenance.parquet", table.drop(columns="cosine"))
    reseal(path)
    with pytest.raises(ArtifactError, match="must have the columns code, rank"):
        Bundle.open(path)


def test_tables_that_are_asked_for_later_are_the_same(path) -> None:
    now, later = Bundle.open(path), Bundle.open(path, tables=False)
    assert vars(later)["provenance"] is not now.provenance
    pd.testing.assert_frame_equal(later.provenance, now.provenance)
    assert now.reference is not None
    assert later.reference is not None
    assert later.abstain_below == now.abstain_below
    pd.testing.assert_frame_equal(later.reference.answers, now.reference.answers)


def test_tables_that_are_asked_for_later_are_refused_in_the_same_words(path) -> None:
    for name, column in (("provenance.parquet", "cosine"), ("validation.parquet", "logit")):
        table = read_table(path / name)
        write_table(path / name, table.drop(columns=column))
        reseal(path)
        with pytest.raises(ArtifactError) as at_once:
            Bundle.open(path)
        later = Bundle.open(path, tables=False)
        with pytest.raises(ArtifactError, match=re.escape(str(at_once.value))):
            _ = later.provenance if column == "cosine" else later.reference.answers
        write_table(path / name, table)
        reseal(path)
    Bundle.open(path)


def test_a_pickle_is_never_opened(path) -> None:
    """A file that a torch loader would run is only bytes that are not safetensors."""
    torch.save({"head": torch.ones(3, 8)}, path / "tensors.safetensors")
    reseal(path)
    with pytest.raises(ArtifactError, match=r"tensors\.safetensors is damaged: not safetensors"):
        Bundle.open(path)


def test_crop_paths(path) -> None:
    bundle = Bundle.open(path)
    code = int(bundle.prototypes[0])
    assert bundle.crop(code, 0) == path / "crops" / f"{code:05d}-0.png"
    assert bundle.crop(code, 7) is None
