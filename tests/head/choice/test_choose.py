"""What is compared where classes differ in their number of images."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from protoquant.head.choice.choose import choose_head
from protoquant.head.choice.crossfit import CrossFitted
from protoquant.head.choice.rule import calibrated_losses, fitted_scales
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import ChoiceConfig, TrainConfig
from tests.head.test_select import head

LABELS = torch.tensor([0] * 8 + [1] * 2)
COMMON = torch.tensor([1.0] * 8 + [0.0] * 2, dtype=torch.float64)
"""The small head knows the common class alone."""
BOTH = torch.tensor([1.0] * 6 + [0.0] * 2 + [1.0] * 2, dtype=torch.float64)
"""The large head errs twice on the common class, and knows the rare one."""


def chosen(rule: Any, setting: Any) -> Any:
    right, weights = torch.stack([COMMON, BOTH]), ClassWeights.of(setting, ("robin", "wren"))
    counted = None if weights is None else weights.judging.of_images(LABELS)
    unused = cast("Any", SimpleNamespace())
    answers = CrossFitted(1.1 - right, right, counted, torch.tensor([1.0, 2.0]), unused, unused)
    config = TrainConfig(class_weights=setting, tolerance=0.0)
    return choose_head(config, ChoiceConfig(rule=rule), answers, [head(2, 0.8), head(4, 0.8)])


@pytest.mark.parametrize("rule", ["tolerance", "one_se"])
def test_a_head_that_knows_the_common_class_alone_is_taken_only_without_weights(rule: str) -> None:
    """Both have 8 of 10 right; balanced accuracies are (1 + 0) / 2 and (6 / 8 + 1) / 2, so are the losses."""
    assert chosen(rule, "none").place == 0
    for setting in ("balanced", {"robin": 1.0, "wren": 1.5}):
        found = chosen(rule, setting)
        assert found.place == 1
        assert found.table["balanced_accuracy"].tolist() == pytest.approx([0.5, 0.875])
        assert found.table["top1"].tolist() == pytest.approx([0.8, 0.8])
        assert found.table["log_loss"].tolist() == pytest.approx([0.6, 0.225])
        assert found.numbers["balanced_accuracy"] == pytest.approx(0.875)
        assert "cross-fitted balanced accuracy 0.8750, top-1 0.8000" in found.sentence()


def test_without_weights_nothing_is_said_of_balanced_accuracy() -> None:
    found = chosen("one_se", "none")
    assert "balanced_accuracy" not in found.table
    assert "balanced_accuracy" not in found.numbers
    assert "cross-fitted top-1 0.8000" in found.sentence()


def test_the_scale_of_logits_is_that_of_images_repeated_by_their_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 10, 2, generator=generator, dtype=torch.float64)
    repeats = torch.tensor([1, 4])[LABELS]
    often = logits.repeat_interleave(repeats, dim=1), LABELS.repeat_interleave(repeats)
    weights = ClassWeights(2).of_images(LABELS)
    torch.testing.assert_close(fitted_scales(logits, LABELS, weights), fitted_scales(*often))
    fold_of = torch.arange(10) % 2  # both have as many of each class
    torch.testing.assert_close(
        calibrated_losses(logits, LABELS, fold_of, weights).repeat_interleave(repeats, dim=1),
        calibrated_losses(*often, fold_of.repeat_interleave(repeats)),
    )
