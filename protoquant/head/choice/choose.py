"""Applies the rule to cross-fitted answers: the chosen head, and the table and numbers that say how it was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from protoquant.head.choice.crossfit import CrossFitted
from protoquant.head.choice.rule import Ruling, one_standard_error, over_images, within_tolerance
from protoquant.head.config import ChoiceConfig, TrainConfig
from protoquant.head.select import HeadCandidate
from protoquant.model.chosen_by import BALANCED


@dataclass(frozen=True)
class HeadChoice:
    """The head chosen by cross-fitting.

    Attributes:
        place: Its position among the candidates.
        table: One row for each candidate: ``choice.csv``.
        numbers: How it was chosen and how well it answers, for the bundle's metrics.
        answers: What cross-fitting found.
    """

    place: int
    table: pd.DataFrame
    numbers: dict[str, Any]
    answers: CrossFitted

    def sentence(self) -> str:
        """The choice in one line."""
        row = self.table.iloc[self.place]
        balanced = f"balanced accuracy {row[BALANCED]:.4f}, " if BALANCED in row else ""
        return (
            f"choice: {row['size']:g} per class, temperature {row['temperature']:g}; cross-fitted {balanced}top-1 "
            f"{row['top1']:.4f}, log-loss {row['log_loss']:.4f}, n = {self.numbers['n']}"
        )


def choose_head(
    config: TrainConfig, choice: ChoiceConfig, answers: CrossFitted, candidates: Sequence[HeadCandidate]
) -> HeadChoice:
    """Choose a candidate by its held-out answers; with class weights all classes count the same in their means.

    Args:
        config: Gives ``tolerance`` and ``max_class_size``.
        choice: Its section ``choice``.
        answers: Answers of every candidate.
        candidates: The heads of the same temperatures and sizes, fitted on train.

    Raises:
        DataError: All candidates are empty or above ``max_class_size``.
    """
    allowed = torch.tensor([one.nonzeros > 0 and one.class_size <= _limit(config) for one in candidates])
    losses, right = (over_images(values, answers.counted) for values in (answers.losses, answers.right))
    if choice.rule == "one_se":
        ruling = one_standard_error(losses, answers.sizes, allowed)
    else:
        ruling = within_tolerance(losses, right.mean(dim=1), answers.sizes, allowed, config.tolerance)
    table = _table(answers, candidates, ruling)
    if config.class_weights != "none":
        table.insert(list(table).index("best"), BALANCED, right.mean(dim=1).tolist())
    row, held = table.iloc[ruling.place], candidates[ruling.place].validation_top1
    numbers = {
        "rule": choice.rule,
        "folds": choice.folds,
        "repeats": choice.repeats,
        "n": answers.losses.shape[1],
        "top1": float(row["top1"]),
        "log_loss": float(row["log_loss"]),
        "validation_top1": held,
        "optimism": held - float(row["top1"]),
    }
    if BALANCED in row:
        numbers[BALANCED] = float(row[BALANCED])
    return HeadChoice(ruling.place, table, numbers, answers)


def _limit(config: TrainConfig) -> float:
    return float("inf") if config.max_class_size is None else config.max_class_size


def _table(answers: CrossFitted, candidates: Sequence[HeadCandidate], ruling: Ruling) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "temperature": [one.temperature for one in candidates],
            "size": answers.sizes.tolist(),
            "log_loss": over_images(answers.losses, answers.counted).mean(dim=1).tolist(),
            "difference": ruling.differences.tolist(),
            "standard_error": ruling.errors.tolist(),
            "top1": answers.right.mean(dim=1).tolist(),
            "best": [int(place == ruling.best) for place in range(len(candidates))],
            "chosen": [int(place == ruling.place) for place in range(len(candidates))],
        }
    )
