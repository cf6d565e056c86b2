"""The numbers of metrics.json and of the headline, by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from protoquant.codebook.usage import UsageCounter
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.metrics.measure import judge, measure, measure_abstention
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


def test_right_and_wrong_are_those_that_it_abstains_on() -> None:
    seen = SimpleNamespace(logits=np.array([[3.0, 0.0], [1.0, 0.5], [0.2, 0.4], [5.0, 4.0], [0.1, 0.0], [0.9, 0.0]]))
    judged = SimpleNamespace(correct=np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0]))
    found = measure_abstention(seen, judged, 0.9, CONFIG, 0)
    assert (found["right"], found["wrong"]) == (1, 1)
    assert found["share"]["value"] == pytest.approx(2 / 6, abs=1e-4)
