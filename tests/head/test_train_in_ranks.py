"""Train by several processes gives what one gives, to rounding."""

from dataclasses import asdict

import pandas as pd
import pytest
import torch

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.quantize import quantize
from protoquant.core.events import ignore
from protoquant.distributed.ranks import rank
from protoquant.head import inputs as inputs_module
from protoquant.head.config import BudgetConfig, ChoiceConfig, JointConfig, TrainConfig
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.solvers import problem as problem_module
from protoquant.head.solvers.gradient_config import GradientHeadConfig
from protoquant.head.train import train
from protoquant.model.bundle import Bundle
from protoquant.prune.apply import prune_trained
from tests.distributed.ranks import in_ranks

pytestmark = pytest.mark.process

BUDGET = TrainConfig(
    codes="free",
    mixture=None,
    temperature=(0.1, 0.3),
    budget=BudgetConfig(sizes=(1, 2, 4)),
    choice=None,
    joint=None,
    crops=1,
    solver_tolerance=1e-3,
)
JOINT = JointConfig(steadiness=0.0, epochs=3, batch=7, lr_codes=0.02, lr_head=0.05)  # 24 images: the last batch has 3
GRADIENT = GradientHeadConfig(penalties=(0.02,), epochs=3, batch=5, warmup_epochs=1, mixup=0.4)
VARIANTS = {
    "budgets": {},
    "path": {"solver": "proximal", "budget": None, "points": 4, "ratio": 0.02},
    "joint": {"joint": JOINT},
    "by gradient": {"solver": "gradient", "budget": None, "gradient": GRADIENT},
    "medoids": {"grounding": "medoid"},
    "chosen patches": {"grounding": "chosen", "grounding_patches": 3},
    "pruned": {"prune": PrunePlan.parse({"criterion": "magnitude", "end": 0.3})},
}


def run(inputs, out, values):
    config = BUDGET.model_copy(update=values)
    return train(config, **inputs, out=out, device=torch.device("cpu"), seed=0, on_event=ignore, prune=prune_trained)


def numbers(candidate):
    """What does not hang on when a solver stops: under the L1 penalty, not how alike codes share a weight."""
    kept = ("temperature", "penalty", "objective", "epoch", "train_top1", "validation_top1")
    return {name: value for name, value in asdict(candidate).items() if name in kept}


@pytest.mark.parametrize("world", [2, 3], ids=["two, in memory", "three, in blocks on disk"])
@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_several_processes_give_what_one_gives(inputs, tmp_path, monkeypatch, values, world):
    if world == 3:
        monkeypatch.setattr(problem_module, "WHOLE", 0)
        monkeypatch.setattr(problem_module, "BLOCK", 20)
        monkeypatch.setattr(inputs_module, "MAPPED", 0)
    one = run(inputs, tmp_path / "one", values)
    alone = Bundle.open(tmp_path / "one")

    def work():
        result = run(inputs, tmp_path / f"{world}-{rank()}", values)
        return [numbers(candidate) for candidate in result.candidates]

    for found in in_ranks(world, work):
        for candidate, expected in zip(found, one.candidates, strict=True):
            assert candidate == pytest.approx(numbers(expected), abs=1e-3)
    assert not (tmp_path / f"{world}-1").exists()  # the first alone writes
    several = Bundle.open(tmp_path / f"{world}-0")
    assert torch.allclose(several.codebook.codes, alone.codebook.codes, rtol=0.0, atol=1e-4)
    if values.get("solver") != "proximal":
        assert torch.allclose(several.head, alone.head, rtol=1e-3, atol=1e-3)
    for part in ("train", "validation", "probe"):
        assert several.metrics[part] == alone.metrics[part]
        pd.testing.assert_frame_equal(several.provenance, alone.provenance, atol=1e-3)


def test_folds_that_processes_share_choose_what_one_process_chooses(inputs, tmp_path):
    config = QuantizeConfig(size=4, seeding_share=1.0, batch=24)
    quantize(
        config,
        features=inputs["features"],
        out=inputs["codebook"],
        device=torch.device("cpu"),
        seed=0,
        on_event=ignore,
    )
    values = {"choice": ChoiceConfig(folds=3, repeats=2), "joint": JOINT, "fit_on": "all"}
    run(inputs, tmp_path / "one", values)
    in_ranks(2, lambda: str(run(inputs, tmp_path / f"2-{rank()}", values).out))
    one, several = (pd.read_csv(tmp_path / name / "choice.csv") for name in ("one", "2-0"))
    pd.testing.assert_frame_equal(several, one, atol=1e-4)
    one, several = (pd.read_csv(tmp_path / name / "joint.csv") for name in ("one", "2-0"))
    pd.testing.assert_frame_equal(several, one, atol=1e-3)
    one, several = (Bundle.open(tmp_path / name) for name in ("one", "2-0"))
    assert torch.allclose(several.codebook.codes, one.codebook.codes, rtol=0.0, atol=1e-3)
    assert several.metrics["validation"] == one.metrics["validation"]
