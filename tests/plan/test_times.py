"""Rates times passes."""

import pytest

from protoquant.codebook.config import QuantizeConfig
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.config import AugmentConfig, ExtractConfig
from protoquant.head.config import BudgetConfig, ChoiceConfig, JointConfig, TrainConfig
from protoquant.plan.calibration import Rates, Sections
from protoquant.plan.sizes import DatasetCounts, Shape
from protoquant.plan.times import START, StageTime, times_of

COUNTS, SHAPE = DatasetCounts(train=100, validation=20, test=30, classes=5), Shape((LayerShape("last", (2, 3), 8),))
NONE = dict.fromkeys(("extract", "pooled", "seeding", "match", "score", "solve", "joint"), 0.0)
TRAIN = TrainConfig(
    codes="free",
    mixture=None,
    temperature=(0.03, 0.05),
    budget=BudgetConfig(sizes=(1, 2)),
    choice=None,
    joint=JointConfig(steadiness=0.0, epochs=10),
)
QUANTIZE = QuantizeConfig(epochs=2, probe_penalties=(1.0, 0.1), probe_iterations=100)


@pytest.mark.parametrize(
    ("rate", "stage", "usual", "most"),
    [
        ("extract", "extract", 150, 150),
        ("pooled", "quantize", 100 * 2 * 60, 100 * 2 * 100),
        ("seeding", "quantize", 5, 5),
        ("match", "quantize", 6 * (2 * 100 + 2 * 100 + 3 * 20), 6 * (2 * 100 + 2 * 100 + 3 * 20)),
        ("score", "train", 120 * 2 + 20 * 10 / 2, 120 * 2 + 20 * 10 / 2),
        ("solve", "train", 100 * 2 * (120 + 50 * 2), 100 * 2 * 1000 * 3),
        ("joint", "train", 100 * 10, 100 * 10),
    ],
)
def test_each_rate_counts_as_often_as_the_settings_say(rate, stage, usual, most):
    rates = Rates(**(NONE | {rate: 1.0}), photos="")
    found = {one.stage: one for one in times_of(Sections(ExtractConfig(), QUANTIZE, TRAIN), COUNTS, SHAPE, rates)}
    assert (found[stage].usual, found[stage].most) == (START + usual, START + most)
    others = [one.most for name, one in found.items() if name != stage]
    assert others == [START, START]


def test_views_are_extracted_and_looked_at_in_every_epoch():
    extract = ExtractConfig(views=3, augment=AugmentConfig())
    rates = Rates(**(NONE | {"extract": 1.0, "match": 1.0}), photos="")
    found = {one.stage: one.usual for one in times_of(Sections(extract, QUANTIZE, TRAIN), COUNTS, SHAPE, rates)}
    assert found["extract"] == START + 150 + 3 * 100
    assert found["quantize"] == START + 6 * (2 * 4 * 100 + 2 * 100 + 3 * 20)


@pytest.mark.parametrize(
    ("rate", "usual"),
    [
        # Two times three folds of 80 images to fit on and 40 held out.
        ("pooled", 6 * 80 * 2 * 60),
        ("seeding", 6 * 5),
        ("match", 6 * 6 * (2 * 80 + 2 * 80 + 3 * 40)),
        ("score", 6 * 120 + 40 * 10 / 2),
        ("solve", 6 * 80 * 2 * (120 + 50 * 2)),
        ("joint", 80 * 10),
    ],
)
def test_cross_fitting_adds_a_quantize_and_a_path_for_each_fold_and_joint_training_of_one(rate, usual):
    rates = Rates(**(NONE | {rate: 1.0}), photos="")
    choice = TRAIN.model_copy(update={"choice": ChoiceConfig(folds=3, repeats=2)})
    without, found = (
        {one.stage: one.usual for one in times_of(Sections(ExtractConfig(), QUANTIZE, each), COUNTS, SHAPE, rates)}
        for each in (TRAIN, choice)
    )
    assert found["train"] - without["train"] == usual


def test_sharing_gains_what_is_shared_at_most():
    stage = StageTime("train", START + 80.0, START + 90.0, "")
    assert [stage.shared(processes) for processes in (1, 2, 8)] == [START + 80, START + 40, START + 10]
