import pandas as pd
import pytest
import torch

from protoquant.core.artifacts import open_artifact
from protoquant.core.events import ignore
from protoquant.features.store.store import FeatureStore
from protoquant.head.prune_plan import GradientTuning, PrunePlan
from protoquant.prune.apply import starting_point
from protoquant.prune.evidence import PruningEvidence
from protoquant.prune.study.config import StudyConfig
from protoquant.prune.study.files import study_bundle, write_study
from protoquant.prune.study.study import resampled
from tests.prune.conftest import CPU

pytestmark = pytest.mark.model

CONFIG = StudyConfig(
    ratios=(0.3, 0.6),
    resamples=2,
    cuts=2,
    gradient=GradientTuning(epochs=1),
    patience_epochs=3,
    budgets=(1, 2),
)


def run(bundle, stores, config=CONFIG):
    return study_bundle(config, bundle, stores, device=CPU, on_event=ignore)


def test_every_strategy_reaches_every_target_on_every_draw(bundle, stores) -> None:
    found = run(bundle, stores)
    runs = found.runs[found.runs["strategy"] != "start"]
    counts = runs.groupby(["tuner", "strategy"]).size().to_dict()
    assert counts == {
        ("refit", "one_shot"): 4,
        ("refit", "iterative"): 4,
        ("refit", "hybrid"): 2,
        ("gradient", "one_shot"): 4,
        ("gradient", "iterative"): 4,
        ("gradient", "patience"): 4,
        ("gradient", "hybrid"): 2,
    }
    assert (runs.loc[runs["strategy"] == "one_shot", "cuts"] == 1).all()
    assert (runs.loc[runs["strategy"] == "one_shot", "overlap"] == 1).all()
    gradient = runs[runs["tuner"] == "gradient"].set_index(["strategy", "ratio", "draw"])["work"]
    assert gradient["one_shot", 0.6, 0] == gradient["iterative", 0.6, 0]  # as many epochs in all
    assert found.measured == "validation_top1"
    assert "test_top1" not in found.runs


def test_test_accuracy_is_reported_only_where_it_is_given_and_changes_nothing(bundle, stores, features) -> None:
    with_test = run(bundle, {**stores, "test": FeatureStore.open(features / "test")})
    assert with_test.measured == "test_top1"
    without = run(bundle, stores)
    pd.testing.assert_frame_equal(with_test.runs.drop(columns="test_top1"), without.runs)


def test_draws_differ_and_repeat(bundle, stores) -> None:
    start = starting_point(PrunePlan(end=0.5), bundle, stores, device=CPU, on_event=ignore)
    whole = start.rescore(torch.arange(8), None)
    images = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5])
    begin = resampled(start, whole, images)
    seen = begin.rescore(torch.arange(8), None)
    assert torch.equal(seen["train"].scores, whole["train"].scores[images])
    assert seen["validation"] is whole["validation"]
    assert not torch.equal(begin.head, start.head)
    pd.testing.assert_frame_equal(run(bundle, stores).runs, run(bundle, stores).runs)


def test_compact_study_scores_again(bundle, stores) -> None:
    calls = []
    scorer = starting_point(PrunePlan(end=0.5), bundle, stores, device=CPU, on_event=ignore).rescore
    plain = type(scorer).__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(scorer), "__call__", lambda self, kept, rest=None: calls.append(1) or plain(self, kept, rest)
        )
        run(bundle, stores, CONFIG)
        masks = len(calls)
        run(bundle, stores, CONFIG.model_copy(update={"semantics": "compact", "tuners": ("refit",)}))
    assert masks == 1 + 2  # all codes once, and the two compact budgets of the curve
    assert len(calls) - masks > 10


def test_files(bundle, stores, tmp_path) -> None:
    found = run(bundle, stores, CONFIG.model_copy(update={"tuners": ("refit",)}))
    write_study(tmp_path / "study", found, CONFIG, {"bundle": "ab"}, 12)
    manifest = open_artifact(tmp_path / "study", "study")
    assert set(manifest.files) == {"runs.csv", "comparison.csv", "budgets.csv", "study.png"}
    assert manifest.extra["config"]["resamples"] == 2
    table = pd.read_csv(tmp_path / "study" / "runs.csv")
    assert len(table) == len(found.runs)


def test_evidence_is_not_changed_by_a_study(bundle, stores) -> None:
    start = starting_point(PrunePlan(end=0.5), bundle, stores, device=CPU, on_event=ignore)
    before: PruningEvidence = start.rescore(torch.arange(8), None)["train"]
    run(bundle, stores)
    assert torch.equal(start.rescore(torch.arange(8), None)["train"].scores, before.scores)
