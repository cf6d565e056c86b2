"""The one-shot / iterative study: four strategies from the same heads to the same targets.

Each draw is a sample of the train images with replacement. The head is fitted again on it (its choice of weights
stays), and every strategy then ranks and fine-tunes on that draw, so differences between strategies are paired. The
only measurement here that decides anything is the one on validation that patience watches.
"""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from protoquant.codebook.rest_codes import Rest
from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent, ignore, track
from protoquant.core.seeding import derive_seed, torch_generator
from protoquant.prune.engine import Pruned, Start, prune
from protoquant.prune.evidence import Scored
from protoquant.prune.finetune import refit
from protoquant.prune.measure import quality
from protoquant.prune.study.compare import compare
from protoquant.prune.study.config import Strategy, StudyConfig, Tuner
from protoquant.prune.study.curve import budget_curve


@dataclass(frozen=True)
class Study:
    """Result of the study.

    Attributes:
        runs: One row for each tuner, strategy, ratio and draw: ratio, prototypes, nonzeros, cuts, work (epochs or
            solver iterations), overlap (share of the kept units that one_shot kept too), validation_top1 and, if
            the test split was given, test_top1; ratio 0 is the head before any cut.
        comparison: Comparison of each strategy with one_shot: see :func:`compare`.
        curve: Accuracy of the unpruned head over class budgets: see :func:`budget_curve`.
        measured: The column that is compared: test_top1 if the test split was given, otherwise validation_top1.
    """

    runs: pd.DataFrame
    comparison: pd.DataFrame
    curve: pd.DataFrame
    measured: str


def study(config: StudyConfig, start: Start, on_event: OnEvent) -> Study:
    """Run every strategy for every target on every draw.

    Args:
        config: Gives the targets, strategies and draws.
        start: A trained head; its ``rescore`` scores train, validation and optionally test.
        on_event: Receives progress for each draw.

    Raises:
        DataError: The head is too small for a target.
    """
    everything = torch.arange(start.head.shape[1], device=start.head.device)
    whole = start.rescore(everything, None)
    rows: list[dict[str, Any]] = []
    draws = range(config.resamples)
    for number in track(draws, "study", config.resamples, "draws", on_event):
        rows += _draw(config, start, whole, number)
    runs = pd.DataFrame(rows)
    measured = "test_top1" if "test" in whole else "validation_top1"
    curve = budget_curve(config.budgets, replace(start, rescore=_remembering(start, whole)))
    return Study(runs, compare(runs, measured, config.level), curve, measured)


def _draw(config: StudyConfig, start: Start, whole: Scored, number: int) -> list[dict[str, Any]]:
    """All runs on one bootstrap draw."""
    n = len(whole["train"].labels)
    generator = torch_generator(config.seed, "study", "draw", number)
    images = torch.randint(n, (n,), generator=generator).to(start.head.device)
    begin = resampled(start, whole, images)
    seed = derive_seed(config.seed, "study", "epochs", number) % 2**31
    rows: list[dict[str, Any]] = []
    for tuner in config.tuners:
        rows.append(_first_row(tuner, number, begin, whole))
        for ratio in config.ratios:
            base: Bool[Tensor, "..."] | None = None
            for strategy in config.strategies(tuner, ratio):
                found = prune(config.plan(strategy, tuner, ratio, seed), begin, ignore)
                units = _units(config, found)
                base = units if base is None else base
                overlap = float((units & base).sum()) / max(1, int(units.sum()))
                rows.append(_row(tuner, strategy, ratio, number, found) | {"overlap": overlap})
    return rows


def resampled(start: Start, whole: Scored, images: Int64[Tensor, " n"]) -> Start:
    """Fit the head again on drawn train images; pruning then sees no other train images.

    The counts of assignments remain those of all train images.

    Args:
        start: The head.
        whole: Its scores with all codes.
        images: Positions of train images, which may repeat.
    """
    remembered = _remembering(start, whole)

    def rescore(kept: Int64[Tensor, " m"], rest: Rest | None) -> Scored:
        scored = remembered(kept, rest)
        return {**scored, "train": scored["train"].rows(images)}

    support = start.head > 0
    if not bool(support.any()) or start.penalty + start.ridge <= 0:
        raise DataError("the study needs a head with weights and the penalty that they were fitted with")
    rows = whole["train"].rows(images)
    head = refit(rows, start.head, support, start.penalty, start.limits, ridge=start.ridge).weights
    return replace(start, head=head, rescore=rescore)


def _remembering(start: Start, whole: Scored) -> Any:
    """A ``rescore`` that reuses the known scores with all codes."""

    def rescore(kept: Int64[Tensor, " m"], rest: Rest | None) -> Scored:
        return whole if rest is None and len(kept) == start.head.shape[1] else start.rescore(kept, rest)

    return rescore


def _units(config: StudyConfig, found: Pruned) -> Bool[Tensor, "..."]:
    used = found.head > 0
    return used.any(dim=0) if config.unit == "prototype" else used


def _row(tuner: Tuner, strategy: Strategy, ratio: float, draw: int, found: Pruned) -> dict[str, Any]:
    return {
        "tuner": tuner,
        "strategy": strategy,
        "ratio": ratio,
        "draw": draw,
        "prototypes": found.row.size.prototypes,
        "nonzeros": found.row.size.nonzeros,
        "local_size": found.row.size.local_size,
        "cuts": len(found.rows) - 1,
        "work": sum(row.work for row in found.rows),
        **_top1s(found.scored, found.head),
    }


def _first_row(tuner: Tuner, draw: int, begin: Start, whole: Scored) -> dict[str, Any]:
    used = begin.head > 0
    return {
        "tuner": tuner,
        "strategy": "start",
        "ratio": 0.0,
        "draw": draw,
        "prototypes": int(used.any(dim=0).sum()),
        "nonzeros": int(used.sum()),
        "local_size": float("nan"),
        "cuts": 0,
        "work": 0,
        **_top1s(whole, begin.head),
        "overlap": 1.0,
    }


def _top1s(scored: Scored, head: Tensor) -> dict[str, float]:
    return {f"{name}_top1": quality(scored[name], head).top1 for name in ("validation", "test") if name in scored}
