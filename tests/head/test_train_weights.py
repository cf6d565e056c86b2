"""Train with class weights, on classes of 16, 5 and 3 images whose tokens overlap."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.quantize import quantize
from protoquant.core.errors import ConfigError
from protoquant.core.events import EpochEvent, MessageEvent, ignore
from protoquant.features.store.store import FeatureStore
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import BudgetConfig, ChoiceConfig, JointConfig, TrainConfig
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.solvers.gradient_config import GradientHeadConfig
from protoquant.head.solvers.problem import Problem
from protoquant.head.train import TrainResult, train
from protoquant.model.bundle import Bundle
from protoquant.model.chosen_by import chosen_by
from protoquant.prune.apply import prune_bundle, prune_trained
from tests.builders.images import CLASSES
from tests.builders.specs import preprocessing, spec
from tests.builders.tokens import clustered, write_split

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
JOINT = JointConfig(start_size=None, steadiness=0.0, epochs=1, batch=8, lr_codes=0.02, lr_head=0.05)
BUDGET = TrainConfig(
    codes="free",
    mixture=None,
    temperature=0.1,
    budget=BudgetConfig(sizes=(3,), ridge=0.3),
    choice=ChoiceConfig(folds=2, repeats=1),
    joint=JOINT,
    crops=0,
)
ALONE = {"choice": None, "joint": None}
# One head and one epoch each, so that nothing is chosen: whatever a table holds, balanced accuracy would choose.
WAYS = {
    "budget, choice and joint": BUDGET,
    "proximal": BUDGET.model_copy(update={**ALONE, "solver": "proximal", "budget": None, "points": 1, "ratio": 0.05}),
    "the paper": BUDGET.model_copy(
        update={
            **ALONE,
            "solver": "gradient",
            "budget": None,
            "gradient": GradientHeadConfig(epochs=1, warmup_epochs=0, batch=8, lr=0.05, penalties=(0.1,)),
        }
    ),
    "grounded": BUDGET.model_copy(update={**ALONE, "grounding": "mean", "grounding_patches": 2}),
    "last fit on all": BUDGET.model_copy(update={"fit_on": "all"}),
}


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder, backbone = tmp_path / "features", spec(view=preprocessing((32, 32), mode="center"))
    for seed, (split, shares) in enumerate({"train": (16, 5, 3), "validation": (8, 2, 2)}.items()):
        tokens, shown = clustered(3 * max(shares), seed, noise=0.8)
        places = [int(place) for label, n in enumerate(shares) for place in (shown == label).nonzero()[:n]]
        write_split(folder / split, tokens[places], shown[places], backbone=backbone, shard=10)
    return folder


@pytest.fixture
def codebook(tmp_path: Path, features: Path) -> Path:
    config = QuantizeConfig(size=3, seeding_share=1.0, batch=24)
    return quantize(config, features=features, out=tmp_path / "codebook", device=CPU, seed=0, on_event=ignore).out


def fit(inputs, out: Path, config: TrainConfig = BUDGET, on_event=ignore) -> TrainResult:
    return train(config, **inputs, out=out, device=CPU, seed=0, on_event=on_event, prune=prune_trained)


def weighed(config: TrainConfig, setting) -> TrainConfig:
    return config.model_copy(update={"class_weights": setting})


@pytest.mark.parametrize("config", WAYS.values(), ids=WAYS)
def test_equal_weights_keep_every_byte_of_the_model_and_others_move_it(inputs, tmp_path, config) -> None:
    for name, setting in {"none": "none", "ones": dict.fromkeys(CLASSES, 0.1), "balanced": "balanced"}.items():
        fit(inputs, tmp_path / name, weighed(config, setting))
    files = [file.name for file in (tmp_path / "none").glob("*.safetensors")]
    assert "tensors.safetensors" in files
    for file in files:
        assert (tmp_path / "none" / file).read_bytes() == (tmp_path / "ones" / file).read_bytes()
    none, ones, balanced = (Bundle.open(tmp_path / name) for name in ("none", "ones", "balanced"))
    assert not torch.equal(none.head, balanced.head)
    assert [chosen_by(one.metrics) for one in (none, ones, balanced)] == ["top1", *2 * ["balanced_accuracy"]]


def test_the_balanced_accuracy_that_is_told_is_that_of_the_answers(inputs, tmp_path) -> None:
    events = []
    result = fit(inputs, tmp_path / "bundle", weighed(BUDGET, "balanced"), events.append)
    bundle = Bundle.open(tmp_path / "bundle")
    answers = bundle.reference.answers
    expected = balanced_accuracy_score(answers["label"], answers["predicted"])
    assert result.chosen.balanced_accuracy == pytest.approx(expected)
    assert bundle.metrics["validation"]["balanced_accuracy"] == pytest.approx(expected, abs=1e-6)
    assert bundle.metrics["validation"]["top1"] == pytest.approx((answers["label"] == answers["predicted"]).mean())
    told = {event.label: event.values for event in events if isinstance(event, EpochEvent)}
    assert {"balanced_accuracy", "validation_top1"} <= told["head"].keys() & told["joint"].keys()
    assert "cross_fitted_balanced_accuracy" in told["choice"]
    for table in ("path.csv", "joint.csv", "choice.csv"):
        assert "balanced_accuracy" in pd.read_csv(tmp_path / "bundle" / table)


def test_a_class_that_is_never_predicted_is_warned_of(inputs, tmp_path) -> None:
    events = []
    rare = {CLASSES[0]: 1e6, CLASSES[1]: 1.0, CLASSES[2]: 1.0}
    fit(inputs, tmp_path / "bundle", weighed(BUDGET.model_copy(update=ALONE), rare), events.append)
    warnings = [event.text for event in events if isinstance(event, MessageEvent) and event.level == "warning"]
    assert f"never predicted on validation: 2 of 3 classes, {CLASSES[1]!r}, {CLASSES[2]!r}" in warnings


def test_a_class_that_there_is_not_is_refused_before_any_work(inputs, tmp_path) -> None:
    events = []
    table = {**dict.fromkeys(CLASSES, 1.0), f"{CLASSES[0]}s": 2.0}
    with pytest.raises(ConfigError, match=f"no class '{CLASSES[0]}s'; did you mean '{CLASSES[0]}'"):
        fit(inputs, tmp_path / "bundle", weighed(BUDGET, table), events.append)
    assert events == []


def test_pruning_fits_again_with_the_weights_of_the_bundle(inputs, tmp_path) -> None:
    """The pruned head is at the optimum of the weighted problem, and balanced accuracy stands beside its top-1."""
    config = weighed(BUDGET.model_copy(update=ALONE), {CLASSES[0]: 1.0, CLASSES[1]: 2.0, CLASSES[2]: 8.0})
    fit(inputs, tmp_path / "bundle", config)
    bundle = Bundle.open(tmp_path / "bundle")
    stores = {split: FeatureStore.open(inputs["features"] / split) for split in ("train", "validation")}
    pruned = prune_bundle(PrunePlan(end=0.3), bundle, stores, device=CPU, on_event=ignore)
    seen = pruned.result.scored
    labels, logits = stores["train"].labels, seen["train"].scores @ pruned.bundle.head.T
    weights = torch.tensor([1.0, 2.0, 8.0])
    loss = torch.nn.functional.cross_entropy(logits, labels, weight=weights)
    ridge = bundle.metrics["penalty"] / 2 / 3 * pruned.bundle.head.square().sum()
    assert pruned.bundle.metrics["objective"] == pytest.approx(float(loss + ridge), abs=1e-5)
    problem = Problem(seen["train"].scores, labels, 3, weights=ClassWeights(3, (1.0, 2.0, 8.0)).of_images(labels))
    gradient = problem.gradient(problem.logits(pruned.bundle.head)) + 0.3 * 0.3 * pruned.bundle.head
    used = pruned.bundle.head > 0
    assert float(gradient[used].abs().max()) <= 0.01 * 0.3 * 0.3, "the refit is not at the weighted optimum"
    predicted = (seen["validation"].scores @ pruned.bundle.head.T).argmax(dim=1)
    expected = balanced_accuracy_score(stores["validation"].labels, predicted)
    assert pruned.bundle.metrics["validation"]["balanced_accuracy"] == pytest.approx(expected, abs=1e-6)
    assert pruned.table["balanced_accuracy"].iloc[-1] == pytest.approx(expected)
    assert chosen_by(pruned.bundle.metrics) == "balanced_accuracy"
