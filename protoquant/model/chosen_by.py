"""Which accuracy chose a model's head: bundles fitted with class weights say so in their metrics."""

from collections.abc import Mapping
from typing import Any, Literal, cast

ChosenBy = Literal["top1", "balanced_accuracy"]
BALANCED: ChosenBy = "balanced_accuracy"
_KEY = "chosen_by"
WORDS: Mapping[ChosenBy, str] = {"top1": "top-1", "balanced_accuracy": "balanced accuracy"}
"""What each is called in a sentence."""


def chosen_by(metrics: Mapping[str, Any]) -> ChosenBy:
    """The accuracy that chose a head, from the bundle's metrics; one without the key was chosen by top-1."""
    return cast("ChosenBy", metrics.get(_KEY, "top1"))


def saying(by: ChosenBy) -> dict[str, str]:
    """What the metrics of a bundle say of it; nothing for top-1, as in bundles from before there was a choice."""
    return {} if by == "top1" else {_KEY: by}
