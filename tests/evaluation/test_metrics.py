"""The numbers of metrics.json and of the headline, by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from protoquant.codebook.usage import UsageCounter
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics import headline, judge, measure, measure_abstention
from protoquant.evaluation.score import EvaluationScores

CONFIG = EvaluateConfig(resamples=100, epsilon=0.1, cover=0.5)
LABELS = np.array([0, 0, 0, 1])
HEAD = np.array([[2.0, 0.0], [0.0, 1.0]])


def scores() -> EvaluationScores:
    """The model has the three images of class 0 right, the probe one of them."""
    logits = np.array([[1.0, 0.2], [1.5, 0.0], [0.3, 0.1], [0.4, 0.3]])
    probe = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    ledger = pd.DataFrame(
        {"image": [0, 1, 2, 3], "class": [0, 0, 0, 0], "code": [0] * 4, "contribution": [1.0, 1.5, 0.3, 0.05]}
    )
    counter = UsageCounter(2)
    counter.add(torch.tensor([0, 1]), torch.ones(2))
    return EvaluationScores(logits, probe, ledger, counter.health())


def test_the_model_is_held_against_the_probe_and_not_the_reverse() -> None:
    found = measure(scores(), judge(scores(), LABELS), HEAD, CONFIG, 0)
    test = found["test"]
    assert (test["top1"]["value"], test["probe"]["top1"]["value"]) == (0.75, 0.25)
    assert (test["macro"]["value"], test["probe"]["macro"]["value"]) == pytest.approx((0.5, 1 / 6), abs=1e-4)
    gap = test["top1_minus_probe"]
    assert gap["value"] == 0.5
    assert -0.25 <= gap["low"] <= 0.5 <= gap["high"] <= 1.0
    assert found["size"]["local_size"]["value"] == 0.75


def test_confidence_is_the_models_chance_of_the_predicted_class() -> None:
    judged = judge(scores(), LABELS)
    assert judged.confidence == pytest.approx([1 / (1 + np.exp(-gap)) for gap in (0.8, 1.5, 0.2, 0.1)])
    assert judged.ranking.predicted.tolist() == [0, 0, 0, 0]
    assert judged.probe.predicted.tolist() == [1, 1, 0, 0]


def test_the_headline_names_each_number_once() -> None:
    def value(number: float) -> dict[str, float]:
        return {"value": number, "low": number - 0.1, "high": number + 0.1, "n": 40}

    test = {
        "top1": value(0.5),
        "top5": value(0.8),
        "macro": value(0.4),
        "ece": value(0.2),
        "probe": {"top1": value(0.6), "macro": value(0.7)},
    }
    size = {"class_size": 3.0, "local_size": value(2.5), "global_size": 9, "sparsity": 0.75}
    numbers = {"test": test, "size": size, "grounding": {"nearest_mean": 0.95, "nearest_min": 0.7}}
    flat = {
        "n": 40,
        "top1": 0.5,
        "top1_low": 0.4,
        "top1_high": 0.6,
        "top5": 0.8,
        "macro": 0.4,
        "probe_top1": 0.6,
        "ece": 0.2,
        "class_size": 3.0,
        "local_size": 2.5,
        "global_size": 9,
        "sparsity": 0.75,
        "nearest_patch": 0.95,
    }
    assert headline(numbers) == pytest.approx(flat)
    stability = {name: value(at) for name, at in (("prediction", 0.9), ("top_prototype", 0.3), ("top3", 0.1))}
    stable = {"stable_prediction": 0.9, "stable_top_prototype": 0.3}
    assert headline(numbers | {"stability": stability}) == pytest.approx(flat | stable)


def test_right_and_wrong_are_those_that_it_abstains_on() -> None:
    seen = SimpleNamespace(logits=np.array([[3.0, 0.0], [1.0, 0.5], [0.2, 0.4], [5.0, 4.0], [0.1, 0.0], [0.9, 0.0]]))
    judged = SimpleNamespace(correct=np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0]))
    found = measure_abstention(seen, judged, 0.9, CONFIG, 0)
    assert (found["right"], found["wrong"]) == (1, 1)
    assert found["share"]["value"] == pytest.approx(2 / 6, abs=1e-4)
