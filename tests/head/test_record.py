from dataclasses import replace

import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.events import ignore
from protoquant.head.candidates import Fitted
from protoquant.head.config import TrainConfig
from protoquant.head.grounding.grounding import Price
from protoquant.head.inputs import PresenceScores, Scoring, TrainInputs
from protoquant.head.record import JointRow, TrainingOutcome, bundle_of, head_sentence, never_predicted
from protoquant.head.select import HeadCandidate
from protoquant.model.chosen_by import chosen_by
from tests.builders.bundles import answering
from tests.builders.tokens import turned

CPU = torch.device("cpu")
CONFIG = TrainConfig(codes="free", mixture=None, temperature=(0.1,))


def candidate(penalty: float, top1: float = 0.75) -> HeadCandidate:
    return HeadCandidate(
        temperature=0.1,
        penalty=penalty,
        objective=1.0,
        residual=0.001,
        gap=1e-4,
        iterations=10,
        epoch=0,
        refit_residual=0.002,
        refit_gap=2e-4,
        refit_iterations=5,
        nonzeros=4,
        prototypes=3,
        class_size=4 / 3,
        train_top1=1.0,
        validation_top1=top1,
    )


def fitted(penalty: float, code: int, top1: float = 0.75) -> Fitted:
    weights = torch.zeros(3, 8)
    weights[:, code] = torch.tensor([1.0, 2.0, 3.0])
    return Fitted(candidate(penalty, top1), weights.to_sparse(), weights.to_sparse())


REMEDY = "train.class_weights balanced makes images of rare classes count more"
ROWS = (
    JointRow(1, 0.9, 0.8, 0.6, 0.99, 2.0),
    JointRow(2, 0.7, 0.6, 0.7, 0.95, 2.0),
    JointRow(3, 0.5, 0.65, 0.8, 0.9, 2.0),
)


@pytest.fixture
def given(inputs) -> TrainInputs:
    return TrainInputs.open(**inputs)


@pytest.fixture
def scores(given) -> PresenceScores:
    return Scoring(CONFIG, given, CPU, None, ignore).scores(given.codebook)


def trained(scores: PresenceScores | None = None, **values) -> TrainingOutcome:
    codebook = Codebook(torch.eye(8, 16), FeatureNorm("l2"))
    return TrainingOutcome(codebook, scores, (fitted(0.3, 0), fitted(0.2, 1), fitted(0.1, 2)), 1, **values)


def test_the_path_is_a_table_with_one_head_taken() -> None:
    found = trained()
    table = found.table()
    assert table["penalty"].tolist() == [0.3, 0.2, 0.1]
    assert table["selected"].tolist() == [0, 1, 0]
    assert list(table.columns)[-1] == "selected"
    assert found.candidates == tuple(candidate(penalty) for penalty in (0.3, 0.2, 0.1))
    assert found.taken is found.fitted[1]


def test_of_epochs_that_are_equally_accurate_the_least_loss_decides() -> None:
    numbers = ((0.8, 0.7), (0.6, 0.7), (0.6, 0.7), (0.1, 0.6))
    rows = [JointRow(epoch, 0.5, loss, top1, 1.0, 2.0) for epoch, (loss, top1) in enumerate(numbers, start=1)]
    assert max(rows, key=lambda row: row.merit).epoch == 2


def test_with_class_weights_balanced_accuracy_decides_and_is_told(given, scores) -> None:
    one, other = (replace(row, balanced_accuracy=balanced) for row, balanced in zip(ROWS[1:], (0.9, 0.5), strict=True))
    assert max(ROWS[1:], key=lambda row: row.merit).epoch == 3
    assert max((one, other), key=lambda row: row.merit).epoch == 2
    assert one.values()["balanced_accuracy"] == 0.9
    moved = fitted(0.2, 5, 0.9)
    moved = replace(moved, candidate=replace(moved.candidate, balanced_accuracy=0.8))
    found = trained(scores, moved=moved, joint=(one, other), epoch=2)
    assert found.joint_table()["balanced_accuracy"].tolist() == [0.9, 0.5]
    assert "validation balanced accuracy 0.8000, top-1 0.9000" in head_sentence(found, 0.5)
    section = CONFIG.model_copy(update={"class_weights": "balanced"})
    bundle = bundle_of(section, given, found)
    assert bundle.params["train"]["class_weights"] == "balanced"
    assert bundle.metrics["validation"]["balanced_accuracy"] == 0.8
    assert chosen_by(bundle.metrics) == "balanced_accuracy"
    without = bundle_of(CONFIG, given, trained(scores))
    assert "chosen_by" not in without.metrics
    assert "balanced_accuracy" not in without.metrics["validation"]
    assert chosen_by(without.metrics) == "top1"


@pytest.mark.parametrize(
    ("predicted", "weighed", "said"),
    [
        ((0, 1, 2), False, ""),
        ((0, 0, 1), False, f"never predicted on validation: 1 of 3 classes, 'wren'; {REMEDY}"),
        ((0, 0, 0), True, "never predicted on validation: 2 of 3 classes, 'owl', 'wren'"),
    ],
)
def test_a_class_that_is_never_predicted_is_told(predicted, weighed, said) -> None:
    names, ids = ("robin", "owl", "wren"), ("a", "b", "c")
    bundle = answering(turned(0, 90), torch.eye(3, 2), predicted, labels=(0, 1, 2), classes=names, ids=ids)
    assert never_predicted(bundle, weighed=weighed) == said


def test_without_joint_training_there_is_no_joint_table() -> None:
    assert trained().joint_table() is None


def test_epochs_are_a_table_with_one_kept_and_the_moved_head_is_the_model() -> None:
    moved = fitted(0.2, 5, 0.9)
    found = trained(moved=moved, joint=ROWS, epoch=2)
    table = found.joint_table()
    assert list(table.columns) == [
        "epoch",
        "train_loss",
        "validation_loss",
        "validation_top1",
        "drift",
        "class_size",
        "selected",
    ]
    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["selected"].tolist() == [0, 1, 0]
    assert table["drift"].tolist() == [0.99, 0.95, 0.9]
    assert found.taken is moved
    # The path tells which head joint training started from.
    assert found.table()["selected"].tolist() == [0, 1, 0]


def test_a_row_gives_its_values_without_the_epoch() -> None:
    assert ROWS[0].values() == {
        "train_loss": 0.9,
        "validation_loss": 0.8,
        "validation_top1": 0.6,
        "drift": 0.99,
        "class_size": 2.0,
    }


def test_the_sentence_names_what_was_taken(scores) -> None:
    assert head_sentence(trained(scores), 0.5) == (
        "head: validation top-1 0.7500, linear probe 0.5000, n = 12; 3 prototypes, 1.3 per class, temperature 0.1"
    )
    assert "top-1 0.9000" in head_sentence(trained(scores, moved=fitted(0.2, 5, 0.9), joint=ROWS, epoch=2), 0.5)


def test_the_bundle_holds_the_taken_head_and_its_numbers(given, scores) -> None:
    bundle = bundle_of(CONFIG, given, trained(scores))
    assert bundle.prototypes.tolist() == [1]
    assert bundle.head[:, 1].tolist() == [1.0, 2.0, 3.0]
    # A section that fits on train alone reads as before there was a last fit.
    absent = {"class_weights", "codes", "fit_on", "mixture"}
    assert bundle.params == {"train": CONFIG.model_dump(mode="json", exclude=absent)}
    assert set(bundle.provenance["code"]) == {1}
    assert bundle.metrics["train"] == {"top1": 1.0, "n": 24}
    assert bundle.metrics["validation"] == {"top1": 0.75, "n": 12}
    assert bundle.metrics["probe"]["validation"]["top1"] == pytest.approx(1 / 3, abs=1e-6)
    assert bundle.metrics["penalty"] == 0.2
    assert bundle.metrics["grounding"] == {"method": "centroid", "patches": None}
    assert "joint" not in bundle.metrics


def test_the_moved_head_is_that_of_the_bundle(given, scores) -> None:
    bundle = bundle_of(CONFIG, given, trained(scores, moved=fitted(0.2, 5, 0.9), joint=ROWS, epoch=2))
    assert bundle.prototypes.tolist() == [5]
    assert bundle.metrics["validation"]["top1"] == 0.9
    assert bundle.metrics["joint"] == {"epoch": 2, "drift": 0.95}


def test_the_price_of_grounding_is_a_number_of_the_bundle(given, scores) -> None:
    config = CONFIG.model_copy(update={"joint": None, "grounding": "mean", "grounding_patches": 4})
    bundle = bundle_of(config, given, trained(scores, price=Price(1.5, 0.75, 0.5)))
    assert bundle.metrics["grounding"] == {
        "method": "mean",
        "patches": 4,
        "class_size": 1.5,
        "before": 0.75,
        "after": 0.5,
        "price": 0.25,
    }
