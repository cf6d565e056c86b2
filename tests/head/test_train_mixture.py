"""Train with codes that are mixtures of train patches: what the bundle keeps of them, and what is refused."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.quantize import quantize
from protoquant.core.artifacts import MANIFEST, digest_file, digest_json, load_tensors, save_tensors
from protoquant.core.errors import ArtifactError, ConfigError
from protoquant.core.events import MessageEvent, ignore
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import BudgetConfig, ChoiceConfig, JointConfig, MixtureConfig, TrainConfig
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.train import train
from protoquant.model.bundle import Bundle
from protoquant.model.grounded import EXACT, furthest
from protoquant.prune.apply import fitted_with
from protoquant.prune.rewrite import prune_and_write

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
MIXED = TrainConfig(
    temperature=0.1,
    budget=BudgetConfig(sizes=(2,)),
    choice=None,
    joint=JointConfig(steadiness=0.0, epochs=3, batch=8, lr_mixture=0.3),
    codes="mixture",
    mixture=MixtureConfig(patches=4),
    crops=2,
)


@pytest.fixture
def codebook(tmp_path: Path, features: Path) -> Path:
    config = QuantizeConfig(size=6, keep=4, seeding_share=1.0, batch=24)
    return quantize(config, features=features, out=tmp_path / "codebook", device=CPU, seed=0, on_event=ignore).out


def fit(inputs, out: Path, config: TrainConfig = MIXED, on_event=ignore):
    return train(config, **inputs, out=out, device=CPU, seed=0, on_event=on_event)


def reseal(path: Path) -> None:
    """Make the manifest agree with changed files, as one would who means harm."""
    manifest = json.loads((path / MANIFEST).read_text())
    for name in manifest["files"]:
        manifest["files"][name] = {"sha256": digest_file(path / name), "bytes": (path / name).stat().st_size}
    del manifest["sha256"]
    (path / MANIFEST).write_text(json.dumps({**manifest, "sha256": digest_json(manifest)}))


def test_every_prototype_is_the_mixture_that_the_bundle_names(inputs, features, tmp_path) -> None:
    fit(inputs, tmp_path / "bundle")
    bundle, store = Bundle.open(tmp_path / "bundle"), FeatureStore.open(features / "train")
    assert bundle.codes_are == "mixture"
    table = bundle.provenance
    named = table[table["weight"] > 0]
    assert set(named["code"]) == set(bundle.prototypes.tolist())
    place, columns = {name: number for number, name in enumerate(store.image_ids)}, store.grid[1]
    for code, rows in named.groupby("code"):
        images = torch.tensor([place[name] for name in rows["image_id"]])
        cells = torch.from_numpy((rows["row"] * columns + rows["col"]).to_numpy(dtype="int64"))
        units = bundle.codebook.norm.units(store.tokens(images))[torch.arange(len(images)), cells]
        weights = torch.from_numpy(rows["weight"].to_numpy(copy=True))
        mean = torch.nn.functional.normalize(weights @ units, dim=0)
        assert float((mean - bundle.codebook.codes[code]).abs().max()) <= EXACT
        assert float(weights.sum()) == pytest.approx(1, abs=1e-6)
        assert len(set(rows["image_id"])) == len(rows) <= 4
        assert set(rows["label"]) == {bundle.codebook.class_of_code[code]}
        assert rows["rank"].tolist() == list(range(len(rows)))  # before the others that are near
        assert rows["weight"].is_monotonic_decreasing
    assert furthest(bundle.codebook, table, bundle.patches)[1] <= EXACT
    assert len(list((tmp_path / "bundle" / "crops").iterdir())) == 2 * len(bundle.prototypes)


def test_a_changed_patch_or_weight_is_noticed(inputs, tmp_path) -> None:
    path = fit(inputs, tmp_path / "bundle").out
    units = load_tensors(path / "patches.safetensors")["units"]
    units[0] = units[0].roll(1)
    save_tensors(path / "patches.safetensors", {"units": units})
    with pytest.raises(ArtifactError, match="its bytes are not the ones that were written"):
        Bundle.open(path)
    reseal(path)
    with pytest.raises(ArtifactError, match=r"damaged: prototype \d+ differs by 0.\d+ from the mixture of its patches"):
        Bundle.open(path)
    save_tensors(path / "patches.safetensors", {"units": units[1:]})
    reseal(path)
    with pytest.raises(ArtifactError, match="damaged: its patches are not those of its provenance"):
        Bundle.open(path)
    save_tensors(path / "patches.safetensors", {"others": units})
    reseal(path)
    with pytest.raises(ArtifactError, match="must hold float32 units"):
        Bundle.open(path)


def test_patches_that_may_not_be_passed_on_stay_out(inputs, tmp_path) -> None:
    private = MIXED.model_copy(update={"mixture": MixtureConfig(patches=4, tokens=False), "crops": 0})
    path = fit(inputs, tmp_path / "bundle", private).out
    bundle = Bundle.open(path)
    assert not (path / "patches.safetensors").exists()
    assert not (path / "crops").exists()
    assert bundle.patches is None
    assert bundle.codes_are == "mixture"


def test_free_codes_say_that_they_are(inputs, tmp_path) -> None:
    free = MIXED.model_copy(update={"codes": "free", "mixture": None})
    bundle = Bundle.open(fit(inputs, tmp_path / "bundle", free).out)
    assert bundle.codes_are == "free"
    assert "weight" not in bundle.provenance
    assert not {"codes", "mixture"} & set(bundle.params["train"])
    assert fitted_with(bundle).codes == "free"  # also where the default is another one


def test_a_class_of_few_images_is_said_once(inputs, tmp_path) -> None:
    heard = []
    many = MIXED.model_copy(update={"mixture": MixtureConfig(patches=20)})
    bundle = Bundle.open(fit(inputs, tmp_path / "bundle", many, heard.append).out)
    said = [event.text for event in heard if isinstance(event, MessageEvent) and event.level == "warning"]
    (text,) = [text for text in said if "patches" in text]
    assert text == (
        "train.mixture.patches is 20, and 3 of 3 classes have fewer train images, the fewest 'auk' with 8: "
        "a code is made of at most as many patches"
    )
    assert int((bundle.provenance["weight"] > 0).groupby(bundle.provenance["code"]).sum().max()) <= 8


def test_pruning_keeps_the_patches_of_what_stays(inputs, features, tmp_path) -> None:
    path = fit(inputs, tmp_path / "bundle").out
    plan = PrunePlan(end=0.4, criterion="magnitude", semantics="compact")
    prune_and_write(plan, bundle=path, features=features, out=tmp_path / "pruned", device=CPU, on_event=ignore)
    before, after = Bundle.open(path), Bundle.open(tmp_path / "pruned")
    assert after.codes_are == "mixture"
    assert 0 < len(after.patches) < len(before.patches)


def test_all_parts_of_training_take_mixtures(inputs, tmp_path) -> None:
    """Cross-fitting, the held-out epoch and the last fit on all images; its patches are still of train."""
    config = MIXED.model_copy(
        update={"choice": ChoiceConfig(folds=3, repeats=1), "fit_on": "all", "budget": BudgetConfig(sizes=(1, 2))}
    )
    bundle = Bundle.open(fit(inputs, tmp_path / "bundle", config).out)
    assert bundle.codes_are == "mixture"
    assert all(name.startswith("train/") for name in bundle.provenance["image_id"])
    assert pd.read_csv(tmp_path / "bundle" / "joint.csv")["held_out_loss"].notna().all()


def test_the_same_inputs_give_the_same_bytes(inputs, tmp_path) -> None:
    folders = [fit(inputs, tmp_path / name).out for name in ("one", "two")]
    first, second = (
        {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in folders
    )
    assert first == second


def test_steadiness_without_views_is_refused_before_any_work(inputs, tmp_path) -> None:
    steady = MIXED.model_copy(update={"joint": JointConfig(steadiness=0.2)})
    with pytest.raises(ConfigError, match=r"train.joint.steadiness must be 0 without augmented views.*got 0.2.*views"):
        fit(inputs, tmp_path / "bundle", steady)
    assert not (tmp_path / "bundle").exists()
