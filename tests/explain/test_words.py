"""How the head was chosen, in the words of the report."""

from types import SimpleNamespace
from typing import Any

from protoquant.explain.report.words import path_note


def note(metrics: dict[str, Any]) -> str:
    prepared = {"images": {"train": 1_200, "validation": 300}}
    return path_note(SimpleNamespace(prepared=prepared, bundle=SimpleNamespace(metrics=metrics)))


def test_the_note_says_which_rule_chose_the_head() -> None:
    assert "The model is the sparsest head within the stated tolerance of the best. Heads" in note({})
    choice = {"rule": "one_se", "folds": 5, "repeats": 2, "n": 1500, "top1": 0.891, "optimism": 0.021}
    said = note({"choice": choice, "joint": {}})
    assert "log-loss is at most one standard error above the least, where each of 1,500 training and" in said
    assert "(5 folds, 2 times): 89.1 % right, and 2.1 points more on validation, then trained further" in said
    other = note({"choice": choice | {"rule": "tolerance", "optimism": -0.004}})
    assert "the smallest head within the stated tolerance of the best accuracy, where" in other
    assert "0.4 points less on validation. Heads" in other
