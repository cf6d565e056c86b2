"""The one list of metrics, held against what evaluate really writes."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups.registry import GROUPS, group
from protoquant.evaluation.metrics.registry import METRICS, TOP1, Metric, by_headline, headline, is_tracked
from tests.evaluation.test_evaluate import run

ROOT = Path(__file__).parents[3]


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


def test_every_metric_but_those_of_groups_stands_in_what_evaluate_writes(
    make: Callable[..., dict[str, Path]],
) -> None:
    numbers = run(make(), EvaluateConfig(resamples=100, metrics=())).numbers
    missing = {metric.path for metric in METRICS if not metric.measured(numbers)}
    assert missing == {metric.path for metric in METRICS if metric.group in GROUPS}
    for metric in METRICS:
        if metric.path not in missing and isinstance(found := metric.of(numbers), Mapping):
            assert {"value", "n"} <= found.keys()


def test_a_group_is_listed_wherever_one_looks_for_it() -> None:
    assert {metric.group for metric in METRICS} - set(GROUPS) == {"test", "size", "codebook", "grounding"}
    assert all(callable(group(name)) for name in GROUPS), "a group is a module of its name"
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    assert tuple(params["evaluate"]["metrics"]) == EvaluateConfig().metrics
    listed = (ROOT / "docs/measurements.md").read_text().partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in listed.splitlines()]
    splits = {row[0].strip("` "): set(row[3].strip().split(", ")) for row in rows if len(row) == 5 and "`" in row[0]}
    assert splits == {name: set(GROUPS[name].splits) for name in GROUPS}


def test_every_metric_is_shown() -> None:
    shown_elsewhere = {"test.top1", "test.top5", "test.macro", "test.ece", "test.probe.top1"}
    in_words = {metric.path for metric in METRICS if metric.row or metric.headline}
    assert {metric.path for metric in METRICS} == in_words | shown_elsewhere


def test_names_are_unique_and_known() -> None:
    for named in ("path", "headline", "row"):
        names = Counter(getattr(metric, named) for metric in METRICS if getattr(metric, named))
        assert set(names.values()) == {1}, named
    assert by_headline("top1") is TOP1
    assert by_headline("top1_low") is None
    assert TOP1.tracked == "evaluate.test.top1"


@pytest.mark.parametrize(
    ("name", "tracked"),
    [
        ("test.top1.value", True),
        ("codebook.gini", True),
        ("stability.prediction.low", True),
        ("validation.purity.fixed.mean.value", True),
        ("train.purity.fixed.random_cells.n", True),
        ("purity.fixed.std", False),
        ("topk.mask.top1.5.value", False),
    ],
)
def test_of_the_groups_only_listed_metrics_are_tracked(name: str, tracked: bool) -> None:
    assert is_tracked(name) is tracked


@pytest.mark.parametrize(
    ("numbers", "measured", "value"),
    [
        ({"a": {"b": 0.5}}, True, 0.5),
        ({"a": {"b": {"value": 0.25, "low": 0.0, "high": 1.0, "n": 4}}}, True, 0.25),
        ({"a": {"b": None}}, True, None),
        ({"a": {}}, False, None),
        ({}, False, None),
    ],
)
def test_a_value_is_found_by_its_path(numbers: dict[str, Any], measured: bool, value: float | None) -> None:
    metric = Metric("a.b", "share", "higher", "a number")
    assert metric.measured(numbers) is measured
    if measured:
        assert metric.value(numbers) == value


def test_the_glossary_lists_every_metric_as_it_is() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs" / "glossary.md").read_text().splitlines() if "`" in line[:3]]
    found = [(row[0].strip("|` "), row[1].strip("` "), row[2], row[3], row[4].rstrip(" |")) for row in rows]
    assert found == [
        (metric.path, metric.headline, metric.unit, metric.better or "", metric.meaning) for metric in METRICS
    ]
