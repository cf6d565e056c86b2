"""Sizes worked out by hand."""

import pytest

from protoquant.codebook.config import QuantizeConfig
from protoquant.core.errors import ConfigError
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.config import AugmentConfig, ExtractConfig
from protoquant.head.config import BudgetConfig, ChoiceConfig, JointConfig, TrainConfig
from protoquant.head.joint_memory import JointSizes, joint_bytes
from protoquant.plan import sizes
from protoquant.plan.sizes import PROCESS, DatasetCounts, Shape, sizes_of

SMALL = DatasetCounts(train=100, validation=20, test=30, classes=5)
SHAPE = Shape((LayerShape("last", (2, 3), 8),))
TRAIN = TrainConfig(temperature=(0.03, 0.05), choice=None, joint=None, budget=BudgetConfig())


def test_a_small_plan_by_hand():
    extract = ExtractConfig(dtype="float32", shard=40, views=1, augment=AugmentConfig())
    found = sizes_of(extract, QuantizeConfig(size=4), TRAIN, SMALL, SHAPE)
    image = 2 * 3 * 8 * 4
    assert found.features == {"train": 200 * image, "validation": 20 * image, "test": 30 * image}
    assert found.store == 250 * image
    assert found.shards == 5 + 1 + 1
    assert found.k == 20
    assert found.scores == 4 * 120 * 20 * 2
    assert not found.mapped
    assert (found.codebook, found.head) == (4 * 20 * 8, 4 * 5 * 20)


GROUNDED = {"codes": "free", "mixture": None, "joint": None, "grounding": "mean", "grounding_patches": 4}


@pytest.mark.parametrize(("values", "times"), [({"joint": None}, 1), ({}, 2), (GROUNDED, 2)])
def test_scores_are_computed_again_after_joint_training_or_grounding(values, times):
    config = TrainConfig(temperature=0.05, **values)
    found = sizes_of(ExtractConfig(), QuantizeConfig(size=4), config, SMALL, SHAPE)
    assert found.scores == times * 4 * 120 * 20


def test_scores_are_mapped_where_those_of_one_time_are_too_many(monkeypatch):
    config, once = TrainConfig(temperature=0.05, **GROUNDED), 4 * 120 * 20
    for most, mapped in ((once, False), (once - 1, True)):
        monkeypatch.setattr(sizes, "MAPPED", most)
        assert sizes_of(ExtractConfig(), QuantizeConfig(size=4), config, SMALL, SHAPE).mapped == mapped


@pytest.mark.parametrize(
    ("dtype", "size"), [("float16", 96.4e9), ("bfloat16", 96.4e9), ("int8", 48.5e9), ("float32", 192.8e9)]
)
def test_imagenet(dtype, size):
    counts = DatasetCounts(train=1_231_167, validation=50_000, test=0, classes=1_000)
    found = sizes_of(
        ExtractConfig(dtype=dtype), QuantizeConfig(), TRAIN, counts, Shape((LayerShape("last", (7, 7), 768),))
    )
    assert found.store == pytest.approx(size, rel=0.001)
    assert found.k == 12_000
    assert found.mapped
    assert found.memory["train"] < 16e9 < found.scores


def test_more_codes_than_tokens_are_refused():
    just = QuantizeConfig(size=600, size_unit="codebook", keep=None)
    assert sizes_of(ExtractConfig(), just, TRAIN, SMALL, SHAPE).k == 600
    config = QuantizeConfig(size=601, size_unit="codebook")
    with pytest.raises(ConfigError, match=r"quantize.size must give at most 600 codes, the train tokens, got 601"):
        sizes_of(ExtractConfig(), config, TRAIN, SMALL, SHAPE)


def test_cross_fitting_holds_mean_tokens_patches_scores_of_all_folds_and_logits_of_all_heads():
    choice = TRAIN.model_copy(update={"choice": ChoiceConfig()})
    without, found = (sizes_of(ExtractConfig(), QuantizeConfig(size=4), one, SMALL, SHAPE) for one in (TRAIN, choice))
    patches, scores = 2 * 4 * 20 * 16 * 8, 5 * 4 * 120 * 20 * 2
    assert found.memory["train"] - without.memory["train"] == 4 * 120 * (8 + 2 * 12 * 5) + scores + patches


def test_joint_training_counts_cells_of_the_finest_layer_views_and_patches():
    layers = Shape((LayerShape("fine", (4, 4), 2), LayerShape("last", (2, 2), 8)))
    extract = ExtractConfig(views=1, augment=AugmentConfig())
    joint = TrainConfig(temperature=0.05, choice=None, joint=JointConfig())
    found = sizes_of(extract, QuantizeConfig(size=4, layers=("fine", "last")), joint, SMALL, layers)
    needs = JointSizes(layers.layers, images=100, views=1, classes=5, k=20, patches=16)
    assert needs.t == 16
    scores = 2 * 4 * 120 * 20
    assert found.memory["train"] == PROCESS + scores + 4 * 120 * 5 + joint_bytes(JointConfig(), needs)
