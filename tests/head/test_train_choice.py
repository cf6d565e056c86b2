"""Train with the head chosen by cross-fitting and the joint epoch by a held-out fold."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.learning import learn_codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.quantize import quantize
from protoquant.core.artifacts import artifact_digest, open_artifact, writing
from protoquant.core.errors import ConfigError, DataError
from protoquant.core.events import EpochEvent, MessageEvent, ignore
from protoquant.features.store.store import FeatureStore
from protoquant.head.choice import fold as fold_module
from protoquant.head.choice.rule import smoothed
from protoquant.head.config import BudgetConfig, ChoiceConfig, JointConfig, TrainConfig
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.train import train
from protoquant.model.bundle import Bundle
from protoquant.prune.apply import fitted_with, prune_bundle
from tests.builders.parts import masks_of, write_no_parts, write_parts_of
from tests.builders.tokens import clustered, write_split

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
CHOICE = TrainConfig(
    codes="free",
    mixture=None,
    temperature=(0.1, 0.3),
    budget=BudgetConfig(sizes=(1, 2, 4)),
    choice=ChoiceConfig(folds=3, repeats=2),
    joint=None,
    crops=1,
)
JOINT = CHOICE.model_copy(
    update={"joint": JointConfig(start_size=None, steadiness=0.0, epochs=5, batch=8, lr_codes=0.02, lr_head=0.05)}
)


@pytest.fixture
def codebook(tmp_path: Path, features: Path) -> Path:
    """Codes that quantize learned, so that they say how."""
    config = QuantizeConfig(size=4, seeding_share=1.0, batch=24)
    return quantize(config, features=features, out=tmp_path / "codebook", device=CPU, seed=0, on_event=ignore).out


def fit(inputs, out: Path, config: TrainConfig = CHOICE, on_event=ignore):
    return train(config, **inputs, out=out, device=CPU, seed=0, on_event=on_event)


def everything(bundle: Path) -> dict[str, bytes]:
    return {file.relative_to(bundle).as_posix(): file.read_bytes() for file in bundle.rglob("*") if file.is_file()}


def test_codes_seeded_on_the_object_are_learned_again_on_it_in_every_fold(inputs, tmp_path, monkeypatch) -> None:
    """Of 48 columns the view keeps those from 4 to 44; the mask reaches from 0 to 24, over half of the middle cells."""
    labels = np.zeros((40, 48), dtype=np.uint8)
    labels[:, :24] = 1
    masks = masks_of({f"train/{number:03d}.png": labels for number in range(24)}, ("beak",))
    parts = write_parts_of(tmp_path / "parts", inputs["images"], masks)
    config, folder = QuantizeConfig(size=4, seeding_share=1.0, batch=24, seeding_on_object=True), tmp_path / "on-object"
    quantize(config, features=inputs["features"], out=folder, parts=parts, device=CPU, seed=0, on_event=ignore)
    assert open_artifact(folder, "codebook").inputs["parts/train"] == artifact_digest(parts / "train")
    shutil.rmtree(parts)  # train reads the cells from the codebook
    seen = []

    def look(config, part, *given, on_object=None, **named):
        seen.append((part.images, on_object))
        return learn_codebook(config, part, *given, on_object=on_object, **named)

    monkeypatch.setattr(fold_module, "learn_codebook", look)
    fit({**inputs, "codebook": folder}, tmp_path / "bundle")
    assert len(seen) == 6
    left = torch.tensor([True, True, False]).repeat(2)
    for images, on_object in seen:
        assert on_object[images < 24].eq(left).all()
        assert on_object[images >= 24].all()


def test_seeding_on_the_object_needs_masks(inputs, tmp_path) -> None:
    config, out = QuantizeConfig(size=4, seeding_on_object=True), tmp_path / "x"
    call = partial(quantize, config, features=inputs["features"], out=out, device=CPU, seed=0, on_event=ignore)
    with pytest.raises(ValueError, match="pass parts"):
        call()
    with pytest.raises(ConfigError, match="seeding_on_object must be false"):
        call(parts=write_no_parts(tmp_path / "none"))
    assert not out.exists()


def test_the_bundle_says_how_its_head_was_chosen(inputs, tmp_path) -> None:
    heard = []
    result = fit(inputs, tmp_path / "bundle", on_event=heard.append)
    table, path = (pd.read_csv(tmp_path / "bundle" / name) for name in ("choice.csv", "path.csv"))
    assert ",".join(table) == "temperature,size,log_loss,difference,standard_error,top1,best,chosen"
    assert (table["temperature"].tolist(), table["size"].tolist()) == ([0.1] * 3 + [0.3] * 3, [1, 2, 4] * 2)
    assert table["chosen"].tolist() == path["selected"].tolist()
    taken, best = table[table["chosen"] == 1].iloc[0], table[table["best"] == 1].iloc[0]
    assert best["log_loss"] == table["log_loss"].min()
    assert taken["difference"] <= taken["standard_error"] + 1e-9
    near = table[table["difference"] <= table["standard_error"] + 1e-9]
    assert taken["size"] == near["size"].min()
    assert table["log_loss"].to_numpy() - best["log_loss"] == pytest.approx(table["difference"].to_numpy(), abs=1e-7)
    metrics = Bundle.open(tmp_path / "bundle").metrics
    assert metrics["answers"] == {
        "train": "in_sample",
        "validation": "held_out",
        "choice": "cross_fitted",
        "presence": "held_out",
    }
    chosen = metrics["choice"]
    assert (chosen["rule"], chosen["folds"], chosen["repeats"], chosen["n"]) == ("one_se", 3, 2, 36)
    assert chosen["top1"] == pytest.approx(taken["top1"], abs=1e-6)
    assert chosen["optimism"] == pytest.approx(result.chosen.validation_top1 - taken["top1"], abs=1e-6)
    said = [event.text for event in heard if isinstance(event, MessageEvent)]
    assert any(text.startswith(f"choice: {taken['size']:g} per class, temperature") for text in said)
    fit(inputs, tmp_path / "again")
    assert everything(tmp_path / "again") == everything(tmp_path / "bundle")


def test_a_held_out_fold_chooses_the_joint_epoch(inputs, tmp_path) -> None:
    heard = []
    fit(inputs, tmp_path / "bundle", JOINT, heard.append)
    table = pd.read_csv(tmp_path / "bundle" / "joint.csv")
    assert table["epoch"].tolist() == [1, 2, 3, 4, 5]  # every epoch keeps its numbers of validation
    assert table["validation_loss"].notna().all()
    means = smoothed(torch.tensor(table["held_out_loss"].to_numpy()), 5)
    assert table["smoothed_loss"].to_numpy() == pytest.approx(means.numpy(), abs=1e-6)
    epoch = int(table["smoothed_loss"].idxmin()) + 1
    assert table[table["selected"] == 1]["epoch"].tolist() == [epoch]
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.metrics["joint"]["epoch"] == epoch
    assert any(isinstance(one, MessageEvent) and f"epoch {epoch} of 5 by the loss" in one.text for one in heard)
    assert [one.epoch for one in heard if isinstance(one, EpochEvent) and one.label == "choice"] == [1, 2]


def test_only_an_epoch_after_the_cut_is_chosen(inputs, tmp_path) -> None:
    wide = JOINT.model_copy(update={"joint": JOINT.joint.model_copy(update={"start_size": 6})})
    fit(inputs, tmp_path / "bundle", wide)
    table = pd.read_csv(tmp_path / "bundle" / "joint.csv")
    assert table["smoothed_loss"].isna().tolist() == [True, True, False, False, False]
    means = smoothed(torch.tensor(table["held_out_loss"].to_numpy()[2:]), 5)
    assert table["smoothed_loss"].to_numpy()[2:] == pytest.approx(means.numpy(), abs=1e-6)
    assert table[table["selected"] == 1]["epoch"].item() == int(table["smoothed_loss"].idxmin()) + 1


def test_without_a_choice_the_section_reads_as_before_there_was_one(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "bundle", CHOICE.model_copy(update={"choice": None}))
    bundle = Bundle.open(tmp_path / "bundle")
    assert "choice" not in bundle.params["train"]
    assert not {"choice", "answers"} & set(bundle.metrics)
    assert not (tmp_path / "bundle" / "choice.csv").exists()
    assert fitted_with(bundle).choice is None


def test_grounding_and_a_tolerance_keep_the_chosen_place(inputs, tmp_path) -> None:
    choice = ChoiceConfig(rule="tolerance", folds=3, repeats=1)
    config = CHOICE.model_copy(update={"choice": choice, "tolerance": 1.0, "grounding": "medoid"})
    result = fit(inputs, tmp_path / "bundle", config)
    table, path = (pd.read_csv(tmp_path / "bundle" / name) for name in ("choice.csv", "path.csv"))
    assert table["chosen"].tolist() == path["selected"].tolist()
    assert table[table["chosen"] == 1]["size"].tolist() == [1]
    assert result.chosen.class_size == 1.0


def test_a_head_above_the_limit_is_not_chosen(inputs, tmp_path) -> None:
    config = CHOICE.model_copy(update={"choice": ChoiceConfig(rule="tolerance", folds=3), "max_class_size": 2.0})
    assert fit(inputs, tmp_path / "bundle", config).chosen.class_size <= 2.0


def refused(inputs, tmp_path, monkeypatch, config: TrainConfig = CHOICE) -> str:
    """The line by which train refuses, before anything is scored."""
    monkeypatch.setattr("protoquant.head.inputs.score_split", None)
    with pytest.raises(ConfigError) as error:
        fit(inputs, tmp_path / "bundle", config)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "bundle").exists()
    return str(error.value)


def test_a_class_of_two_images_is_refused_before_anything_is_computed(inputs, tmp_path, monkeypatch) -> None:
    for split, n in (("train", 1), ("validation", 1)):
        tokens, labels = clustered(9, 0)
        kept = torch.cat([(labels != 2).nonzero().flatten(), (labels == 2).nonzero().flatten()[:n]]).sort().values
        store = FeatureStore.open(inputs["features"] / split)
        write_split(store.path, tokens[kept], labels[kept], backbone=store.backbone)
    config = QuantizeConfig(size=1, seeding_share=1.0, batch=24)
    quantize(config, features=inputs["features"], out=inputs["codebook"], device=CPU, seed=0, on_event=ignore)
    said = refused(inputs, tmp_path, monkeypatch)
    assert "needs at least 3 images of each class" in said
    assert "has 2 (params.yaml)" in said
    assert "set train.choice to null" in said


def test_a_codebook_that_does_not_say_how_it_was_learned_is_refused(inputs, tmp_path, monkeypatch) -> None:
    learned, probe = Codebook.open(inputs["codebook"]), LinearProbe.open(inputs["codebook"])
    with writing(inputs["codebook"], "codebook") as folder:
        learned.save(folder)
        probe.save(folder)
    said = refused(inputs, tmp_path, monkeypatch)
    assert "this codebook does not say how it was learned; run quantize again, or set train.choice to null" in said


def test_a_codebook_too_large_for_a_fold_is_refused(inputs, tmp_path, monkeypatch) -> None:
    config = QuantizeConfig(size=48, seeding_share=1.0, batch=24)  # all patches of the eight train images of a class
    quantize(config, features=inputs["features"], out=inputs["codebook"], device=CPU, seed=0, on_event=ignore)
    choice = ChoiceConfig(folds=2, repeats=1)
    said = refused(inputs, tmp_path, monkeypatch, CHOICE.model_copy(update={"choice": choice}))
    assert "train.choice fits the codebook on a part of the images, where quantize.size must be <= 36" in said


def test_answers_that_need_too_much_memory_are_refused(inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("protoquant.head.choice.crossfit.MOST", 100)
    assert "of held-out logits" in refused(inputs, tmp_path, monkeypatch)


def test_a_held_out_loss_that_is_not_finite_stops_training(inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("protoquant.head.choice.joint_epoch._loss", lambda *_, **__: float("nan"))
    with pytest.raises(DataError, match=r"joint loss on a held-out fold is nan after epoch 1; lower train\.joint\.lr"):
        fit(inputs, tmp_path / "bundle", JOINT)


def test_scores_of_folds_on_disk_choose_the_same_and_are_gone_afterwards(inputs, tmp_path, monkeypatch) -> None:
    fit(inputs, tmp_path / "memory")
    monkeypatch.setattr("protoquant.head.inputs.MAPPED", 0)
    fit(inputs, tmp_path / "disk")
    assert everything(tmp_path / "disk") == everything(tmp_path / "memory")
    assert not list(tmp_path.glob(".*-scores-*"))


def test_a_last_fit_on_all_images_keeps_what_its_twin_says_of_validation(inputs, tmp_path) -> None:
    heard = []
    fit(inputs, tmp_path / "train", JOINT)
    fit(inputs, tmp_path / "all", JOINT.model_copy(update={"fit_on": "all"}), heard.append)
    twin, model = (Bundle.open(tmp_path / name) for name in ("train", "all"))
    assert "fit_on" not in twin.params["train"]
    assert model.params["train"]["fit_on"] == "all"
    assert any(isinstance(one, MessageEvent) and "all 36 images of train and validation" in one.text for one in heard)
    # Another model, of the same recipe ...
    assert not torch.equal(model.codebook.codes, twin.codebook.codes)
    assert model.temperature == twin.temperature
    assert int((model.head > 0).sum(dim=1).max()) <= int(twin.metrics["class_size"] + 0.5)
    for name in ("choice.csv", "path.csv", "joint.csv"):
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "train" / name).read_bytes()
    # ... which says nothing of its own about images that it was fitted on.
    assert model.metrics["answers"] == {
        "train": "in_sample",
        "validation": "cross_fitted",
        "choice": "cross_fitted",
        "presence": "in_sample",
    }
    assert model.metrics["validation"] == twin.metrics["validation"]
    assert model.reference.answers.equals(twin.reference.answers)
    assert model.reference.abstain_below == twin.reference.abstain_below
    assert model.reference.codebook == twin.reference.codebook
    assert model.reference.prototypes == tuple(model.prototypes.tolist())
    # Patches are named of train images alone.
    assert set(model.provenance["image_id"]) <= set(FeatureStore.open(inputs["features"] / "train").image_ids)
    stores = {name: FeatureStore.open(inputs["features"] / name) for name in ("train", "validation")}
    with pytest.raises(DataError, match=r"fitted on its validation images \(train\.fit_on all\), which pruning"):
        prune_bundle(PrunePlan(end=0.3), model, stores, device=CPU, on_event=ignore)


def test_a_convex_head_is_fitted_on_all_images_too(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "all", CHOICE.model_copy(update={"fit_on": "all"}))
    model = Bundle.open(tmp_path / "all")
    used = (model.head > 0).sum(dim=1)
    assert 1 <= int(used.min()) <= int(used.max()) <= 4
    assert model.metrics["train"]["top1"] == 1.0
