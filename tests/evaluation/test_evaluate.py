"""The step as a whole, against plain formulas on the same tokens."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import artifact_digest, digest_file, open_artifact, read_table
from protoquant.core.errors import ArtifactError, ConfigError
from protoquant.core.events import MessageEvent, ProgressEvent, ignore
from protoquant.evaluation import evaluate as steps
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.evaluate import EvaluateResult, _sentence, evaluate
from protoquant.evaluation.metrics.measure import measure_abstention
from protoquant.evaluation.score import LogitScorer, score
from protoquant.evaluation.subject import GroupResult, LackingDataError, Subject
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import write_store
from protoquant.model.bundle import Bundle
from tests.builders.bundles import write_bundle

CONFIG = EvaluateConfig(resamples=200, metrics=())
Paths = dict[str, Path]
Make = Callable[..., Paths]


def run(paths: Paths, config: EvaluateConfig = CONFIG, **changes: Any) -> EvaluateResult:
    """Evaluate on the CPU with seed 0."""
    given: dict[str, Any] = {**paths, "device": torch.device("cpu"), "seed": 0, "on_event": ignore, **changes}
    return evaluate(config, **given)


@pytest.fixture
def expected(
    codes: torch.Tensor, head: torch.Tensor, tokens: tuple[torch.Tensor, torch.Tensor]
) -> dict[str, np.ndarray]:
    """Scores (n, k), logits (n, c), labels and nearest codes, by the formulas of the method in float64."""
    units = torch.nn.functional.normalize(tokens[0].double(), dim=-1)
    cosine = units @ codes.double().T
    scores = torch.softmax(cosine / 0.1, dim=-1).amax(dim=1)
    found = {"scores": scores, "logits": scores @ head.double().T, "labels": tokens[1], "nearest": cosine.argmax(-1)}
    return {name: value.numpy() for name, value in found.items()}


def test_numbers_equal_the_formulas(make: Make, expected: dict[str, np.ndarray]) -> None:
    numbers = run(make()).numbers
    predicted = expected["logits"].argmax(axis=1)
    right = predicted == expected["labels"]
    assert 0.3 < right.mean() < 1.0
    assert numbers["test"]["top1"]["value"] == round(float(right.mean()), 4)
    assert numbers["test"]["top1"]["n"] == 33
    assert numbers["test"]["top1"]["low"] < numbers["test"]["top1"]["value"] < numbers["test"]["top1"]["high"]
    assert numbers["test"]["top5"]["value"] == 1.0
    recalls = [right[expected["labels"] == label].mean() for label in range(3)]
    assert numbers["test"]["macro"]["value"] == round(float(np.mean(recalls)), 4)
    assert numbers["test"]["ties"] == {"value": 0, "n": 33}
    assert numbers["size"]["sparsity"] == round(1 - 6 / 18, 4)
    assert (numbers["size"]["class_size"], numbers["size"]["global_size"]) == (2.0, 5)
    counts = np.bincount(expected["nearest"].ravel(), minlength=6) / expected["nearest"].size
    perplexity = np.exp(-(counts[counts > 0] * np.log(counts[counts > 0])).sum())
    assert numbers["codebook"]["perplexity"] == pytest.approx(perplexity, abs=1e-4)
    assert numbers["codebook"]["tokens"] == 33 * 6


@pytest.mark.parametrize("balanced", [False, True])
def test_the_headline_holds_balanced_accuracy_where_classes_differ_in_size(*, balanced: bool) -> None:
    measured = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 33}
    test = {"top1": measured, "macro": {**measured, "value": 0.6}, "probe": {"top1": measured}}
    said = _sentence({"test": test, "size": {"class_size": 2.0}}, balanced=balanced)
    beside = "balanced accuracy 0.6000 (0.7000 to 0.9000), " if balanced else ""
    assert said == (
        f"test top-1 0.8000 (0.7000 to 0.9000, n 33), {beside}linear probe 0.8000, 2.0 prototypes per class"
    )


def test_every_account_closes(make: Make, expected: dict[str, np.ndarray]) -> None:
    paths = make()
    run(paths)
    predictions = read_table(paths["out"] / "predictions.parquet")
    contributions = read_table(paths["out"] / "contributions.parquet")
    assert list(predictions["image_id"]) == [f"test/{number:03d}.png" for number in range(33)]
    assert predictions["logit"].to_numpy() == pytest.approx(expected["logits"].max(axis=1), abs=1e-6)
    for kind, logit in (("predicted", "logit"), ("label", "true_logit")):
        sums = contributions.groupby(["image_id", "class"])["contribution"].sum()
        of_class = [sums[row] for row in zip(predictions["image_id"], predictions[kind], strict=True)]
        assert predictions[logit].to_numpy() == pytest.approx(of_class, abs=1e-5)
    product = contributions["score"] * contributions["weight"]
    assert contributions["contribution"].to_numpy() == pytest.approx(product.to_numpy(), abs=1e-12)
    numbers = [int(name[5:8]) for name in contributions["image_id"]]
    assert contributions["score"].to_numpy() == pytest.approx(
        expected["scores"][numbers, contributions["code"].to_numpy()], abs=1e-6
    )
    classes = contributions.groupby("image_id")["class"].nunique()
    assert set(classes[predictions.loc[~predictions["correct"], "image_id"]]) == {2}
    assert set(classes[predictions.loc[predictions["correct"], "image_id"]]) == {1}


def test_cells_are_where_the_score_is(
    make: Make, codes: torch.Tensor, tokens: tuple[torch.Tensor, torch.Tensor]
) -> None:
    paths = make()
    run(paths)
    units = torch.nn.functional.normalize(tokens[0].double(), dim=-1)
    shares = torch.softmax(units @ codes.double().T / 0.1, dim=-1).reshape(33, 2, 3, 6).numpy()
    for row in read_table(paths["out"] / "contributions.parquet").itertuples():
        assert shares[int(row.image_id[5:8]), row.row, row.col, row.code] == pytest.approx(row.score, abs=1e-6)


@pytest.mark.parametrize("shard", [1, 7])
def test_shards_change_nothing(make: Make, shard: int) -> None:
    whole, cut = make(), make(shard)
    run(whole)
    run(cut)
    assert cut["metrics"].read_bytes() == whole["metrics"].read_bytes()
    for name in ("predictions.parquet", "contributions.parquet", "confusion.csv", "reliability.csv", "per_class.csv"):
        assert digest_file(cut["out"] / name) == digest_file(whole["out"] / name), name


def test_twice_gives_the_same_bytes_and_leaves_the_bundle_alone(make: Make) -> None:
    paths = make()
    before = {file: file.read_bytes() for file in sorted(paths["bundle"].rglob("*")) if file.is_file()}
    digests = []
    for _ in range(2):
        run(paths)
        digests.append((artifact_digest(paths["out"]), digest_file(paths["metrics"])))
    assert digests[0] == digests[1]
    assert {file: file.read_bytes() for file in sorted(paths["bundle"].rglob("*")) if file.is_file()} == before
    assert open_artifact(paths["out"], "evaluation").inputs["bundle"] == artifact_digest(paths["bundle"])


def test_images_are_scored_each_for_itself(make: Make) -> None:
    """Invariant: the numbers of an image depend neither on those beside it nor on their order."""
    paths = make()
    store = FeatureStore.open(paths["features"] / "test")
    whole = score(store, scorer(paths), ignore)
    for images in ([4], [32, 3, 17, 4]):
        part = paths["root"] / f"part-{len(images)}"
        names = [store.image_ids[image] for image in images]
        write_store(part, store.tokens(images), store.labels[images], names, store.grid, store.backbone, shard=2)
        found = score(FeatureStore.open(part), scorer(paths), ignore)
        assert np.array_equal(found.logits, whole.logits[images])
        assert np.array_equal(found.probe_logits, whole.probe_logits[images])
        for place, image in enumerate(images):
            own, same = (
                scores.ledger[scores.ledger["image"] == at].drop(columns="image").reset_index(drop=True)
                for scores, at in ((found, place), (whole, image))
            )
            pd.testing.assert_frame_equal(own, same)


def test_every_tensor_is_as_it_was(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant: what evaluate opens, it only reads: tensors in memory, and every file it was given."""
    paths, opened = make(), []
    for kind in (Bundle, LinearProbe):
        right = kind.open

        def recorded(*arguments: Any, right: Any = right, **named: Any) -> Any:
            found = right(*arguments, **named)
            opened.append((found, {name: tensor.clone() for name, tensor in tensors_of(found).items()}))
            return found

        monkeypatch.setattr(kind, "open", recorded)
    given = [paths[name] for name in ("bundle", "codebook", "features", "images", "parts")]
    before = {file: file.read_bytes() for folder in given for file in folder.rglob("*") if file.is_file()}
    run(paths)
    assert {type(found) for found, _ in opened} == {Bundle, LinearProbe}
    for found, was in opened:
        now = tensors_of(found)
        assert set(now) == set(was)
        assert all(torch.equal(now[name], was[name]) for name in was)
    assert {file: file.read_bytes() for folder in given for file in folder.rglob("*") if file.is_file()} == before


def scorer(paths: Paths) -> LogitScorer:
    """The model and the probe as evaluate puts them together."""
    model, device = Bundle.open(paths["bundle"]), torch.device("cpu")
    return LogitScorer(model.codebook, model.head, model.temperature, LinearProbe.open(paths["codebook"]), device)


def tensors_of(found: Bundle | LinearProbe) -> dict[str, torch.Tensor]:
    """All tensors of what evaluate opens."""
    if isinstance(found, Bundle):
        return {**found.codebook.tensors(), "head": found.head}
    return {name: value for name, value in vars(found).items() if isinstance(value, torch.Tensor)}


def test_another_seed_moves_intervals_only(make: Make) -> None:
    paths = make()
    first, second = run(paths).numbers, run(paths, seed=1).numbers
    assert first["test"]["top1"]["value"] == second["test"]["top1"]["value"]
    assert first["test"]["ece"] != second["test"]["ece"]


def test_without_metric_groups_only_the_test_split_is_opened(make: Make) -> None:
    paths = make()
    assert [entry.name for entry in paths["features"].iterdir()] == ["test"]
    seen: list[object] = []
    run(paths, on_event=seen.append)
    progress = [event for event in seen if isinstance(event, ProgressEvent)]
    assert (progress[0].done, progress[-1].done, progress[-1].total) == (0, 33, 33)


def test_csv_files_are_what_dvc_plots_reads(make: Make) -> None:
    paths = make()
    run(paths)
    predictions = read_table(paths["out"] / "predictions.parquet")
    confused = pd.read_csv(paths["out"] / "confusion.csv", keep_default_na=False)
    assert list(confused.columns) == ["actual", "predicted"]
    names = np.array(["wren", "NA", "jay <b>"])
    assert (confused["actual"] == names[predictions["label"]]).all()
    assert (confused["predicted"] == names[predictions["predicted"]]).all()
    reliable = pd.read_csv(paths["out"] / "reliability.csv")
    assert list(reliable.columns) == ["confidence", "accuracy", "count"]
    assert reliable["count"].sum() == 33
    per_class = pd.read_csv(paths["out"] / "per_class.csv", keep_default_na=False)
    assert per_class["support"].tolist() == [11, 11, 11]
    assert per_class["prototypes"].tolist() == [2, 2, 2]
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    share = (reliable["count"] * (reliable["accuracy"] - reliable["confidence"]).abs()).sum() / 33
    assert metrics["test"]["ece"]["value"] == pytest.approx(share, abs=2e-4)
    headline = json.loads(paths["metrics"].read_text())
    assert headline["ece"] == metrics["test"]["ece"]["value"]
    assert headline["top1_low"] <= headline["top1"] <= headline["top1_high"]


def test_local_and_cover_size_by_hand(make: Make) -> None:
    paths = make()
    config = EvaluateConfig(resamples=100, epsilon=0.4, cover=0.5, metrics=())
    numbers = run(paths, config).numbers
    predictions = read_table(paths["out"] / "predictions.parquet")
    contributions = read_table(paths["out"] / "contributions.parquet")
    sizes, covers = [], []
    for row in predictions.itertuples():
        own = contributions[(contributions["image_id"] == row.image_id) & (contributions["class"] == row.predicted)]
        parts = sorted(own["contribution"], reverse=True)
        sizes.append(sum(part > 0.4 for part in parts))
        covers.append(next(m for m in range(1, 9) if sum(parts[:m]) >= 0.5 * sum(parts) - 1e-9))
    assert predictions["local_size"].tolist() == sizes
    assert predictions["cover_size"].tolist() == covers
    assert numbers["size"]["local_size"]["value"] == round(float(np.mean(sizes)), 4)
    assert len(set(sizes)) > 1


def test_grounding_is_read_off_the_bundle(make: Make) -> None:
    paths = make()
    numbers = run(paths).numbers
    assert numbers["grounding"] == {
        "prototypes": 5,
        "nearest_mean": 0.9,
        "nearest_min": 0.9,
        "near_share": 0.0,
        "patches_mean": 0.9,
        "drift_mean": 1.0,
        "drift_min": 1.0,
        "mixture_gap": None,
    }
    assert pd.read_csv(paths["out"] / "prototypes.csv")["code"].tolist() == [0, 1, 2, 3, 4]
    assert json.loads(paths["metrics"].read_text())["nearest_patch"] == 0.9


@pytest.mark.parametrize(
    ("gap", "level", "said"),
    [
        (2e-8, "info", "the patches of every prototype give it, to 2e-08"),
        (0.2, "warning", "prototype 3 differs by 0.2 from the mixture of its patches in the train features; it was"),
    ],
)
def test_a_mixture_that_its_patches_do_not_give_is_said(
    monkeypatch: pytest.MonkeyPatch, gap: float, level: str, said: str
) -> None:
    told: list[MessageEvent] = []
    monkeypatch.setattr(steps, "mixture_gap", lambda *_: (3, gap))
    assert steps._mixture_gap(SimpleNamespace(bundle=None, store=str, on_event=told.append)) == gap
    assert told[0].level == level
    assert told[0].text.startswith(said)


def test_a_group_that_is_not_named_is_not_measured(make: Make) -> None:
    paths = make()
    assert "stability" not in run(paths).numbers
    assert not (paths["out"] / "stability.csv").exists()
    assert "stable_prediction" not in json.loads(paths["metrics"].read_text())


def test_artifacts_of_other_runs_are_refused_and_nothing_is_written(make: Make) -> None:
    paths = make()
    shutil.rmtree(paths["features"] / "test")
    with pytest.raises(ArtifactError, match=r"features/test"):
        run(paths)
    paths = make(7)
    (paths["bundle"] / "tensors.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"tensors\.safetensors is damaged"):
        run(paths)
    assert not paths["out"].exists()
    assert not paths["metrics"].exists()


def test_images_left_out_by_hand_stand_beside_the_numbers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, told = make(), []
    assert "excluded" not in run(paths).numbers
    excluded = {"train": 1, "validation": 0, "test": 2}
    monkeypatch.setattr("protoquant.evaluation.evaluate.left_out_by_hand", lambda _: excluded)
    assert run(paths, on_event=told.append).numbers["excluded"] == excluded
    assert "prototypes per class; images excluded by hand: 2 of test; their numbers" in told[-1].text


def test_other_classes_are_refused(make: Make, tmp_path: Path) -> None:
    from protoquant.core.artifacts import digest_json, write_json, writing

    paths = make()
    with writing(tmp_path / "others", "images") as folder:
        write_json(folder / "classes.json", ["a", "b"])
        with writing(folder / "test", "images", drawn=False, classes=digest_json(["a", "b"])):
            pass
    with pytest.raises(ArtifactError, match=r"the bundle's classes are not those of .*others"):
        run(paths | {"images": tmp_path / "others"})


def test_abstention_is_counted_by_hand(make: Make) -> None:
    scores = SimpleNamespace(logits=np.array([[3.0, 0.0], [1.0, 0.5], [0.2, 0.4]]))
    judged = SimpleNamespace(correct=np.array([1.0, 1.0, 0.0]))
    found = measure_abstention(scores, judged, 0.9, CONFIG, 0)
    assert (found["share"]["value"], found["right"], found["wrong"]) == (pytest.approx(1 / 3, abs=1e-3), 0, 1)
    assert measure_abstention(scores, judged, None, CONFIG, 0)["share"]["value"] == 0.0
    whole = run(make()).numbers["test"]["abstention"]
    assert (whole["below"], whole["share"]["value"]) == (None, 0.0)  # this bundle keeps no reference


def test_what_the_data_has_nothing_for_is_passed_over_with_a_line_and_the_rest_is_measured(make: Make) -> None:
    seen: list[object] = []
    config = EvaluateConfig(resamples=100, metrics=("purity", "evidence", "funnybirds", "deletion"))
    numbers = run(make(), config, on_event=seen.append).numbers
    assert [event.text for event in seen if isinstance(event, MessageEvent)][:3] == [
        "evaluate.metrics: purity is not measured, the data has no parts",
        "evaluate.metrics: evidence is not measured, the data has no part masks",
        "evaluate.metrics: funnybirds is not measured, the data has no interventions (prepare.interventions)",
    ]
    assert numbers["deletion"]["deletion"]["n"] == 33
    assert not {"purity", "evidence", "funnybirds"} & numbers.keys()


def test_a_group_that_finds_its_data_lacking_is_passed_over_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(subject: Subject, split: str) -> GroupResult:
        raise LackingDataError("it needs another moon")

    monkeypatch.setattr("protoquant.evaluation.groups.topk.measure", lacking)
    seen: list[object] = []
    numbers = run(make(), EvaluateConfig(resamples=100, metrics=("topk", "sizes")), on_event=seen.append).numbers
    [warning] = [event for event in seen if isinstance(event, MessageEvent) and event.level == "warning"]
    assert warning.text == "evaluate.metrics: topk is not measured, it needs another moon"
    assert "topk" not in numbers
    assert numbers["sizes"]["pq_global"] == 5


@pytest.mark.parametrize("made", ["held_out", "in_sample"])
def test_validation_is_not_measured_where_the_model_was_fitted_on_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    asked: list[str] = []

    def measured(subject: Subject, split: str) -> GroupResult:
        asked.append(split)
        return GroupResult({"share": 0.5}, {})

    monkeypatch.setattr("protoquant.evaluation.groups.stability.measure", measured)
    paths = make()
    opened = Bundle.open(paths["bundle"])
    write_bundle(paths["bundle"], replace(opened, metrics={"answers": {"presence": made}}))
    seen: list[object] = []
    numbers = run(paths, EvaluateConfig(resamples=100, metrics=("stability",)), on_event=seen.append).numbers
    said = [event.text for event in seen if isinstance(event, MessageEvent) and "is not measured" in event.text]
    if made == "in_sample":
        assert (asked, "validation" in numbers) == (["test"], False)
        assert said == ["evaluate.metrics: validation is not measured, the model was fitted on it too"]
    else:
        assert (asked, "validation" in numbers, said) == (["test", "validation"], True, [])


def test_an_unknown_group_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.metrics.*'purety'.*did you mean 'purity'"):
        EvaluateConfig.parse({"metrics": ["purety"]}, "evaluate")
