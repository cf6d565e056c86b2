"""Train as it is by default: budgets, then codes and head together, then what the config asks for beside."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import writing
from protoquant.core.errors import ArtifactError, ConfigError, DataError
from protoquant.core.events import EpochEvent, MessageEvent, ignore
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import write_store
from protoquant.head import inputs as inputs_module
from protoquant.head import joint_stage
from protoquant.head import joint_stage as module
from protoquant.head.config import BudgetConfig, JointConfig, TrainConfig
from protoquant.head.grounding.patch_choice import halves
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.train import train
from protoquant.model.bundle import Bundle
from protoquant.model.head import head_logits
from protoquant.model.presence import presence
from protoquant.prune.apply import prune_trained
from tests.builders.tokens import clustered

pytestmark = pytest.mark.model

BUDGET = TrainConfig(
    codes="free",
    mixture=None,
    temperature=(0.1, 0.3),
    budget=BudgetConfig(sizes=(1, 2, 4)),
    choice=None,
    joint=None,
    crops=1,
    solver_tolerance=0.001,
)
JOINT = BUDGET.model_copy(
    update={"joint": JointConfig(start_size=None, steadiness=0.0, epochs=4, batch=8, lr_codes=0.02, lr_head=0.05)}
)


def fit(inputs, out, config, on_event=ignore, seed: int = 0):
    return train(
        config, **inputs, out=out, device=torch.device("cpu"), seed=seed, on_event=on_event, prune=prune_trained
    )


def test_budgets_give_a_head_of_each_size(inputs, tmp_path) -> None:
    events = []
    result = fit(inputs, tmp_path / "bundle", BUDGET, events.append)
    assert [one.temperature for one in result.candidates] == [0.1] * 3 + [0.3] * 3
    for one, size in zip(result.candidates, (1, 2, 4) * 2, strict=True):
        assert one.nonzeros <= 3 * size
        assert one.penalty == 0.03
        assert one.residual <= 0.001
        assert one.refit_residual <= 0.001
    assert result.chosen.nonzeros == 3  # one prototype for each class tells them apart
    assert result.chosen.validation_top1 == 1.0
    assert not any(isinstance(event, MessageEvent) and event.level == "warning" for event in events)
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.metrics["penalty"] == 0.03
    assert not (tmp_path / "bundle" / "joint.csv").exists()
    assert torch.equal(bundle.codebook.codes, Codebook.open(inputs["codebook"]).codes)


def test_what_does_not_fit_into_memory_is_refused_before_any_work(inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(joint_stage, "free_memory", lambda _: 30_000)
    events = []
    with pytest.raises(ConfigError, match=r"train.joint.batch is 8 .* 30 kB are free: at most \d fits; lower it, or"):
        fit(inputs, tmp_path / "bundle", JOINT, events.append)
    assert events == []
    assert not (tmp_path / "bundle").exists()
    fit(inputs, tmp_path / "bundle", BUDGET)  # without joint training nothing is asked


def test_budgets_that_are_not_finished_are_said_once_each(inputs, tmp_path) -> None:
    config = BUDGET.model_copy(update={"max_iterations": 1, "solver_tolerance": 1e-6})
    events = []
    fit(inputs, tmp_path / "bundle", config, events.append)
    warnings = [event.text for event in events if isinstance(event, MessageEvent) and event.level == "warning"]
    dense = [text for text in warnings if "the head is" in text]
    assert len(dense) == 2  # the dense fit of each temperature, however many budgets it ranks for
    assert any("the second fit is" in text for text in warnings)
    assert all("raise train.max_iterations" in text and "penalty 0.03" in text for text in warnings)
    assert len(set(warnings)) == len(warnings)


def test_joint_training_may_start_wider_than_the_head_that_is_left(inputs, tmp_path) -> None:
    """The head starts with four prototypes of a class; from the second of four epochs on it has the chosen one."""
    wide = JOINT.model_copy(update={"joint": JOINT.joint.model_copy(update={"start_size": 4})})
    result = fit(inputs, tmp_path / "bundle", wide)
    table = pd.read_csv(tmp_path / "bundle" / "joint.csv")
    assert (table["class_size"] <= [2.0, 1.0, 1.0, 1.0]).all()
    assert table["class_size"][0] > 1.0
    assert table[table["selected"] == 1]["epoch"].item() >= 2
    assert result.chosen.nonzeros <= 3


def test_joint_training_moves_codes_and_head_and_keeps_the_best_epoch(inputs, tmp_path) -> None:
    events = []
    before = fit(inputs, tmp_path / "before", BUDGET).chosen
    result = fit(inputs, tmp_path / "bundle", JOINT, events.append)
    table = pd.read_csv(tmp_path / "bundle" / "joint.csv")
    assert table["epoch"].tolist() == [1, 2, 3, 4]
    assert table["selected"].sum() == 1
    taken = table[table["selected"] == 1].iloc[0]
    assert taken["validation_loss"] == table["validation_loss"].min()
    told = [event for event in events if isinstance(event, EpochEvent) and event.label == "joint"]
    assert [event.epoch for event in told] == [1, 2, 3, 4]
    assert [event.values["drift"] for event in told] == pytest.approx(table["drift"].tolist(), rel=1e-6)
    bundle, plain = Bundle.open(tmp_path / "bundle"), Bundle.open(tmp_path / "before")
    moved = (bundle.codebook.codes * plain.codebook.codes).sum(dim=1)
    assert float(moved.mean()) == pytest.approx(taken["drift"], abs=1e-5)
    assert float(moved.min()) < 1 - 1e-5
    assert not bool((bundle.head > 0)[plain.head == 0].any())
    assert result.chosen.nonzeros <= before.nonzeros
    # What is reported is recomputed here from the bundle alone.
    store = FeatureStore.open(inputs["features"] / "validation")
    logits = head_logits(
        presence(store.tokens(range(store.n)), bundle.codebook, bundle.temperature).scores, bundle.head
    )
    loss = float(torch.nn.functional.cross_entropy(logits.double(), store.labels))
    assert taken["validation_loss"] == pytest.approx(loss, abs=1e-5)
    assert bundle.metrics["validation"]["top1"] == float((logits.argmax(dim=1) == store.labels).double().mean())
    # So are the nearest train patches: those of the moved codes.
    trained = FeatureStore.open(inputs["features"] / "train")
    similarity = bundle.codebook.similarity(trained.tokens(range(trained.n)))
    for row in bundle.provenance.itertuples():
        image = trained.image_ids.index(row.image_id)
        assert float(similarity[image, row.row * 3 + row.col, row.code]) == pytest.approx(row.cosine, abs=1e-6)
    assert bundle.metrics["joint"] == {
        "epoch": int(taken["epoch"]),
        "drift": pytest.approx(float(taken["drift"]), abs=1e-6),
    }


def everything(bundle: Path) -> dict[str, bytes]:
    return {file.relative_to(bundle).as_posix(): file.read_bytes() for file in bundle.rglob("*") if file.is_file()}


def test_joint_training_then_pruning(inputs, tmp_path) -> None:
    plan = PrunePlan(unit="class_budget", criterion="magnitude", budget=1, semantics="compact")
    config = JOINT.model_copy(update={"budget": BudgetConfig(sizes=(2,)), "prune": plan})
    fit(inputs, tmp_path / "bundle", config)
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.metrics["class_size"] <= 1
    assert {"joint", "prune"} <= set(bundle.metrics)
    assert (tmp_path / "bundle" / "joint.csv").is_file()


@pytest.mark.parametrize("method", ["medoid", "chosen", "mean"])
def test_grounding_then_pruning(inputs, tmp_path, method, monkeypatch) -> None:
    patches = None if method == "medoid" else 3
    plan = PrunePlan(unit="class_budget", criterion="magnitude", budget=1, semantics="compact")
    config = BUDGET.model_copy(
        update={
            "budget": BudgetConfig(sizes=(2,)),
            "grounding": method,
            "grounding_patches": patches,
            "prune": plan,
        }
    )
    events = []
    fit(inputs, tmp_path / "bundle", config, events.append)
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.metrics["class_size"] <= 1
    # What is reported is of the images that chose no patch.
    held = FeatureStore.open(inputs["features"] / "validation")
    images = halves(held.labels)[1] if method == "chosen" else torch.arange(held.n)
    seen = presence(held.tokens(images), bundle.codebook, bundle.temperature)
    hits = head_logits(seen.scores, bundle.head).argmax(dim=1) == held.labels[images]
    right = {"top1": pytest.approx(float(hits.double().mean()), abs=1e-6), "n": len(images)}
    assert bundle.metrics["validation"] == right
    assert {"grounding", "prune"} <= set(bundle.metrics)
    assert (tmp_path / "bundle" / "pruning.csv").is_file()
    assert bundle.codebook.k == len(bundle.prototypes) <= 3
    # The codes are tied to train patches: the first of each prototype's provenance is the patch, or the mean of some.
    store, norm = FeatureStore.open(inputs["features"] / "train"), bundle.codebook.norm
    units = norm.units(store.tokens(range(store.n)))
    for code, rows in bundle.provenance.groupby("code"):
        own = rows.head(patches if method == "mean" else 1)
        places = [(store.image_ids.index(row.image_id), row.row * 3 + row.col) for row in own.itertuples()]
        mean = torch.stack([units[place] for place in places]).mean(dim=0)
        torch.testing.assert_close(bundle.codebook.codes[code], torch.nn.functional.normalize(mean, dim=0))
    texts = [event.text for event in events if isinstance(event, MessageEvent)]
    assert [any(part in text for text in texts) for part in (f"grounding {method}:", "head: ", "prun")] == [True] * 3
    # All of it again, with the scores in files: the same bytes.
    monkeypatch.setattr(inputs_module, "MAPPED", 0)
    fit(inputs, tmp_path / "again", config)
    assert everything(tmp_path / "again") == everything(tmp_path / "bundle")
    assert [one.name for one in tmp_path.iterdir() if "scores" in one.name] == []


def test_what_joint_training_draws_follows_the_seed(inputs, tmp_path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(inputs, tmp_path / name, JOINT, seed=seed)
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    codes = [Bundle.open(tmp_path / name).codebook.codes for name in ("a", "c")]
    assert not torch.equal(*codes)


def test_a_damaged_table_of_joint_training_is_refused(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "bundle", JOINT)
    file = tmp_path / "bundle" / "joint.csv"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"1", b"2", 1))
    with pytest.raises(ArtifactError, match=r"joint\.csv is damaged"):
        Bundle.open(tmp_path / "bundle")
    file.unlink()
    with pytest.raises(ArtifactError, match=r"joint\.csv is missing"):
        Bundle.open(tmp_path / "bundle")
    file.write_bytes(whole)
    Bundle.open(tmp_path / "bundle")


def test_joint_training_that_diverges_on_validation_is_an_error(inputs, tmp_path, monkeypatch) -> None:
    right = module.joint_epochs

    def broken(*arguments, **named):
        for epoch in right(*arguments, **named):
            yield replace(epoch, weights=epoch.weights * torch.nan)

    monkeypatch.setattr(module, "joint_epochs", broken)
    with pytest.raises(
        DataError, match=r"the joint loss on validation is nan after epoch 1; lower train\.joint\.lr_codes"
    ):
        fit(inputs, tmp_path / "bundle", JOINT)
    assert not (tmp_path / "bundle").exists()


def test_augmented_views_are_trained_on_too(inputs, tmp_path, monkeypatch) -> None:
    """Views of the train images come after the plain tokens, and change what is learned."""
    given, right = [], module.joint_epochs

    def spied(views, *arguments, **named):
        given.append([view.n for view in views])
        return right(views, *arguments, **named)

    monkeypatch.setattr(module, "joint_epochs", spied)
    fit(inputs, tmp_path / "plain", JOINT)
    store = FeatureStore.open(inputs["features"] / "train")
    tokens, params = store.tokens(range(store.n)), (store.labels, store.image_ids, store.grid, store.backbone)
    write_store(store.path, tokens, *params, views=[clustered(store.n, seed)[0] for seed in (7, 8)])
    learned, probe = Codebook.open(inputs["codebook"]), LinearProbe.open(inputs["codebook"])
    with writing(inputs["codebook"], "codebook") as folder:
        learned.save(folder)
        probe.save(folder)
    fit(inputs, tmp_path / "views", JOINT)
    assert given == [[24], [24, 24, 24]]
    codes = [Bundle.open(tmp_path / name).codebook.codes for name in ("plain", "views")]
    assert not torch.equal(*codes)
    first, later = (pd.read_csv(tmp_path / name / "joint.csv")["train_loss"].tolist() for name in ("plain", "views"))
    assert first[0] == later[0]  # the first epoch is on the plain tokens
    assert first[1] != later[1]
