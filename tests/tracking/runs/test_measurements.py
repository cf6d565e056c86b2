import pytest

from protoquant.core.artifacts import read_json, write_json
from protoquant.core.errors import ArtifactError
from protoquant.core.workspace import Workspace
from protoquant.tracking.runs.measurements import MetricHistory, curves, flatten, headline, metrics, parameters


def test_nested_values_get_dotted_names():
    assert flatten({"a": {"b": {"c": 1}, "d": []}, "e": None}) == {"a.b.c": 1, "a.d": [], "e": None}


def test_parameters_are_text_and_lists_are_json():
    params = {"seed": 0, "train": {"temperature": [0.03, 0.05], "solver": "fista", "joint": None}}
    assert parameters(params) == {
        "seed": "0",
        "train.temperature": "[0.03, 0.05]",
        "train.solver": "fista",
        "train.joint": "null",
    }


def test_metrics_of_all_stages_are_numbers_named_after_the_stage(workspace: Workspace):
    found = metrics(workspace)
    assert found["quantize.perplexity"] == 12.5
    assert found["quantize.probe.train"] == 1.0
    assert found["train.validation.top1"] == 0.875
    assert found["evaluate.test.top1.low"] == 0.8
    assert not {"quantize.probe.ready", "quantize.probe.name", "train.rule"} & found.keys()


def test_metrics_that_are_no_mapping_are_an_error(workspace: Workspace):
    write_json(workspace.evaluation / "metrics.json", [1, 2])
    with pytest.raises(ArtifactError, match=r"metrics\.json is damaged: not a mapping"):
        metrics(workspace)


def test_curves_step_by_epoch_or_row_and_skip_what_was_not_measured(workspace: Workspace):
    assert curves(workspace) == [
        MetricHistory("quantize.history.perplexity", ((1, 10.0), (2, 12.5))),
        MetricHistory("quantize.history.dead_share", ((1, 0.1),)),
        MetricHistory("train.path.penalty", ((0, 0.1), (1, 0.01))),
        MetricHistory("train.path.prototypes", ((0, 4.0), (1, 9.0))),
        MetricHistory("train.path.top1", ((0, 0.80), (1, 0.85))),
    ]


def test_heads_of_a_path_are_its_steps_whatever_epoch_they_are_of(workspace: Workspace):
    """Budgets and the convex path know no epoch: a store takes each step of a curve once."""
    (workspace.bundle / "path.csv").write_text("penalty,epoch,top1\n0.03,0,0.80\n0.03,0,0.85\n0.03,0,0.82\n")
    found = {curve.name: curve.points for curve in curves(workspace)}
    assert found["train.path.top1"] == ((0, 0.80), (1, 0.85), (2, 0.82))
    assert found["train.path.epoch"] == ((0, 0.0), (1, 0.0), (2, 0.0))
    for points in found.values():
        assert len({step for step, _ in points}) == len(points)


def test_epochs_of_joint_training_are_a_curve_where_there_are_any(workspace: Workspace):
    assert not any(curve.name.startswith("train.joint") for curve in curves(workspace))
    (workspace.bundle / "joint.csv").write_text("epoch,drift,selected\n1,0.99,0\n2,0.97,1\n")
    assert MetricHistory("train.joint.history.drift", ((1, 0.99), (2, 0.97))) in curves(workspace)


def test_a_missing_or_empty_curve_is_an_error(workspace: Workspace):
    path = workspace.bundle / "path.csv"
    path.write_text("")
    with pytest.raises(ArtifactError, match=r"path\.csv is damaged: not CSV"):
        curves(workspace)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"path\.csv is missing"):
        curves(workspace)


def test_the_headline_says_n_interval_and_probe(workspace: Workspace):
    found = headline(workspace)
    assert found.sentence() == (
        "9 prototypes, 2.5 per class. Top-1 accuracy on test 0.9000 [0.8000, 0.9500] (n = 40), "
        "linear probe 0.9500; on validation 0.8750."
    )
    assert found.tags() == {
        "prototypes": "9",
        "class_size": "2.50",
        "validation_accuracy": "0.8750",
        "test_accuracy": "0.9000",
        "test_interval": "0.8000 to 0.9500, n 40",
        "probe_test_accuracy": "0.9500",
    }


def test_the_headline_says_what_cross_fitting_found(workspace: Workspace):
    values = read_json(workspace.bundle / "metrics.json")
    write_json(workspace.bundle / "metrics.json", {**values, "choice": {"top1": 0.8125, "rule": "one_se"}})
    found = headline(workspace)
    assert found.sentence().endswith("; on validation 0.8750, cross-fitted before joint training 0.8125.")
    assert found.tags()["cross_fitted_accuracy"] == "0.8125"


def test_the_choice_of_a_head_is_a_curve_where_there_is_one(workspace: Workspace):
    (workspace.bundle / "choice.csv").write_text("size,log_loss\n1,0.5\n3,0.25\n")
    assert MetricHistory("train.choice.history.log_loss", ((0, 0.5), (1, 0.25))) in curves(workspace)


def test_a_headline_number_that_is_missing_is_named(workspace: Workspace):
    write_json(workspace.evaluation / "metrics.json", {"size": {"global_size": 9, "class_size": 2.5}})
    with pytest.raises(ArtifactError, match=r"lack evaluate\.test\.top1\.value, evaluate\.test\.top1\.low"):
        headline(workspace)
