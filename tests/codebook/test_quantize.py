import itertools
import json
import math

import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.probe import LinearProbe, top1
from protoquant.codebook.quantize import measure, quantize
from protoquant.core.artifacts import artifact_digest, open_artifact, read_table
from protoquant.core.errors import ArtifactError, ConfigError, DataError
from protoquant.core.events import EpochEvent, ignore
from protoquant.features.store.store import FeatureStore

pytestmark = pytest.mark.model

CPU = torch.device("cpu")


def run(features, out, on_event=ignore, seed=0, **values):
    config = QuantizeConfig.parse({"size": 4, "batch": 24, **values})
    return quantize(config, features=features, out=out, device=CPU, seed=seed, on_event=on_event)


def metrics_of(out):
    return json.loads((out / "metrics.json").read_text())


VARIANTS = {
    "class_aware": {},
    "class_aware then all": {"epochs": 3},
    "kmeans++ in batches": {"seeding": "kmeans++", "epochs": 4, "update": "batch"},
    "random": {"seeding": "random", "epochs": 4, "size": 9, "size_unit": "codebook"},
    "centred": {"feature_norm": "center_l2"},
    "ema": {"learner": "ema", "epochs": 3, "ema": {}},
    "ema, euclidean": {
        "learner": "ema",
        "metric": "euclidean",
        "epochs": 3,
        "ema": {"decay": 0.9},
    },
    "gradient": {"learner": "gradient", "epochs": 3, "gradient": {"warmup_epochs": 1}},
    "gradient, drawn, balanced": {
        "learner": "gradient",
        "epochs": 3,
        "feature_norm": "none",
        "seeding": "orthogonal",
        "gradient": {"warmup_epochs": 0, "weight_balance": 0.5, "balance_temperature": 0.1, "lr_scale": "absolute"},
    },
    "farthest": {"seeding": "farthest", "epochs": 2},
    "orthogonal, whitened": {"seeding": "orthogonal", "epochs": 4, "feature_norm": "whiten"},
    "euclidean": {"metric": "euclidean", "feature_norm": "none", "epochs": 2},
    "some tokens of each image": {"epochs": 3, "tokens_per_image": 2},
    "euclidean, drawn": {"metric": "euclidean", "feature_norm": "layernorm", "seeding": "normal", "epochs": 6},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def values(request):
    return request.param


def test_the_output_is_whole_and_its_numbers_are_those_of_the_codes(features, tmp_path, values):
    result = run(features, tmp_path / "out", **values)
    manifest = open_artifact(tmp_path / "out", "codebook")
    assert set(manifest.files) == {
        "codebook.json",
        "codebook.safetensors",
        "grounding.parquet",
        "history.csv",
        "metrics.json",
        "probe.safetensors",
    }
    train, validation = (FeatureStore.open(features / split) for split in ("train", "validation"))
    assert manifest.inputs == {"features/train": train.digest, "features/validation": validation.digest}
    codebook = Codebook.open(tmp_path / "out")
    metrics = metrics_of(tmp_path / "out")
    assert codebook.k == result.k == metrics["k"] == values.get("size", 12)
    for split, store, health in [("train", train, result.train), ("validation", validation, result.validation)]:
        assert measure(store, codebook, 1_000).quantization_error == pytest.approx(health.quantization_error, abs=1e-5)
        assert metrics[split] == pytest.approx(health.numbers(), abs=1e-5)
    pooled = validation.tokens(range(validation.n)).float().mean(dim=1)
    probe = LinearProbe.open(tmp_path / "out")
    assert top1(probe.logits(pooled), validation.labels) == result.probe_validation_top1
    assert metrics["probe"]["validation_top1"] == pytest.approx(result.probe_validation_top1, abs=1e-6)


def test_the_same_inputs_give_the_same_bytes(features, tmp_path, values):
    run(features, tmp_path / "one", **values)
    run(features, tmp_path / "two", **values)
    assert artifact_digest(tmp_path / "one") == artifact_digest(tmp_path / "two")


def test_the_cut_into_shards_changes_no_byte(tmp_path, write, values):
    for shard in (3, 50):
        for split, n, seed in [("train", 21, 1), ("validation", 9, 2)]:
            write(tmp_path / str(shard), split, n, seed=seed, shard=shard)
        run(tmp_path / str(shard), tmp_path / f"out{shard}", **values)
    for name in ("codebook.safetensors", "probe.safetensors", "grounding.parquet", "history.csv", "metrics.json"):
        assert (tmp_path / "out3" / name).read_bytes() == (tmp_path / "out50" / name).read_bytes()


@pytest.mark.parametrize("values", [{}, {"seeding": "kmeans++", "epochs": 1}, {"seeding": "random", "epochs": 1}])
def test_another_seed_gives_another_codebook(features, tmp_path, values):
    found = []
    for seed in (0, 1):
        run(features, tmp_path / str(seed), seed=seed, size=2, seeding_epochs=1, **values)
        found.append(Codebook.open(tmp_path / str(seed)).codes)
    assert not torch.equal(*found)


def test_class_aware_codes_name_their_class(features, tmp_path):
    run(features, tmp_path / "out")
    assert Codebook.open(tmp_path / "out").class_of_code == (0,) * 4 + (1,) * 4 + (2,) * 4


def test_grounding_names_the_patch_of_each_code(features, tmp_path):
    run(features, tmp_path / "out")
    codebook, table = Codebook.open(tmp_path / "out"), read_table(tmp_path / "out" / "grounding.parquet")
    train = FeatureStore.open(features / "train")
    similarity = codebook.similarity(train.tokens(range(train.n)))
    assert table["code"].tolist() == list(range(12))
    assert len(table.drop_duplicates(["image_id", "row", "col"])) == 12
    for row in table.itertuples():
        image = train.image_ids.index(row.image_id)
        assert float(similarity[image, row.row * 3 + row.col, row.code]) == pytest.approx(row.cosine, abs=1e-5)
    assert metrics_of(tmp_path / "out")["grounding_cosine"] < 1 - 1e-4


def test_history_and_events_tell_every_pass(features, tmp_path):
    heard = []
    run(features, tmp_path / "out", heard.append, epochs=3, tolerance=0.0)
    history = pd.read_csv(tmp_path / "out" / "history.csv")
    epochs = [event for event in heard if isinstance(event, EpochEvent)]
    assert history["epoch"].tolist() == [event.epoch for event in epochs] == list(range(1, len(history) + 1))
    assert set(history["phase"]) == {"seeding", "all"}
    columns = ["quantization_error", "perplexity", "dead_share", "revived"]
    assert {"usage", "gini", "tokens", *columns} <= set(history)
    for row, event in zip(history[columns].to_dict("records"), epochs, strict=True):
        assert list(event.values) == columns
        assert row == pytest.approx(dict(event.values), abs=1e-5)
        assert all(math.isfinite(value) for value in row.values())


def test_each_learner_tells_its_numbers_in_columns_of_the_history(features, tmp_path):
    heard, values = [], {"learner": "gradient", "epochs": 3, "gradient": {"warmup_epochs": 1, "lr": 0.01}}
    run(features, tmp_path / "out", heard.append, **values)
    history = pd.read_csv(tmp_path / "out" / "history.csv")
    last = [event for event in heard if isinstance(event, EpochEvent)][-1]
    assert list(last.values) == ["loss", "quantization_error", "perplexity", "dead_share", "revived"]
    columns = ["loss", "loss_task", "loss_codebook", "loss_balance", "lr"]
    assert bool(history.loc[history["phase"] == "all", columns].notna().all(axis=None))
    assert bool(history.loc[history["phase"] == "seeding", columns].isna().all(axis=None))
    assert history["phase"].tolist().count("all") == 3


def test_the_probe_is_the_same_whatever_the_learner(features, tmp_path):
    """It is the frozen task head: no learner may move it."""
    learners = {
        "kmeans": {},
        "ema": {"learner": "ema", "epochs": 2, "ema": {}},
        "gradient": {"learner": "gradient", "epochs": 2, "gradient": {"warmup_epochs": 0, "lr": 0.1}},
    }
    for name, values in learners.items():
        run(features, tmp_path / name, **values)
    probes = {(tmp_path / name / "probe.safetensors").read_bytes() for name in learners}
    assert len(probes) == 1
    codes = [Codebook.open(tmp_path / name).codes for name in learners]
    assert not any(torch.allclose(one, other, atol=1e-3) for one, other in itertools.combinations(codes, 2))


@pytest.mark.parametrize("learner", ["kmeans", "gradient"])
def test_the_quantisation_gap_is_that_of_the_written_codes(features, tmp_path, learner):
    values = {} if learner == "kmeans" else {"learner": "gradient", "epochs": 2, "gradient": {"warmup_epochs": 0}}
    run(features, tmp_path / "out", size=1, **values)
    codebook, probe = Codebook.open(tmp_path / "out"), LinearProbe.open(tmp_path / "out")
    validation = FeatureStore.open(features / "validation")
    tokens = validation.tokens(range(validation.n)).float()
    units = codebook.norm.units(tokens)
    own = codebook.codes[codebook.assign(tokens).indices]
    quantised = codebook.norm.undo((units * own).sum(dim=2, keepdim=True) * own, tokens)
    expected = top1(probe.logits(quantised.mean(dim=1)), validation.labels)
    found = metrics_of(tmp_path / "out")
    assert found["quantised"]["validation_top1"] == pytest.approx(expected, abs=1e-6)
    gap = expected - found["probe"]["validation_top1"]
    assert found["quantised"]["validation_gap"] == pytest.approx(gap, abs=1e-5)
    assert ("learned_validation_top1" in found["quantised"]) == (learner == "gradient")


def test_more_passes_over_all_tokens_lower_the_error(features, tmp_path):
    values = {"seeding": "random", "size": 6, "size_unit": "codebook"}
    errors = [run(features, tmp_path / str(e), epochs=e, **values).train.quantization_error for e in (1, 10)]
    assert errors[1] < errors[0]


def test_the_metric_and_the_feature_space_change_the_codes(features, tmp_path):
    found = {}
    for metric, name in [("cosine", "none"), ("euclidean", "none"), ("euclidean", "whiten")]:
        out = tmp_path / f"{metric}-{name}"
        run(features, out, metric=metric, feature_norm=name, epochs=2)
        found[metric, name] = Codebook.open(out).codes
        assert torch.allclose(torch.linalg.vector_norm(found[metric, name], dim=1), torch.ones(12), atol=1e-5)
    pairs = itertools.combinations(found.values(), 2)
    assert not any(torch.allclose(one, other, atol=1e-4) for one, other in pairs)
    history = pd.read_csv(tmp_path / "euclidean-none" / "history.csv")
    distances = history.loc[history["phase"] == "all", "distance"]
    assert distances.is_monotonic_decreasing
    assert bool((distances > 0).all())


def test_a_drawn_code_without_a_direction_is_an_error(features, tmp_path, monkeypatch):
    monkeypatch.setattr("protoquant.codebook.learning.drawn_codes", lambda name, k, d, generator: torch.zeros(k, d))
    with pytest.raises(DataError, match="a code is zero and has no direction"):
        run(features, tmp_path / "out", seeding="sparse", epochs=1)


def test_an_impossible_size_fails_before_anything_is_written(features, tmp_path):
    with pytest.raises(ConfigError, match=r"quantize.size must be <= 42 for 126 train tokens, got 43 x 3 classes"):
        run(features, tmp_path / "out", size=43)
    assert not (tmp_path / "out").exists()


def test_nan_stops_and_writes_nothing(tmp_path, write):
    bad = torch.ones(9, 6, 16)
    bad[5, 2, 7] = torch.nan
    write(tmp_path / "features", "train", 21, seed=1)
    write(tmp_path / "features", "validation", 9, tokens=bad)
    with pytest.raises(DataError, match="NaN or infinity"):
        run(tmp_path / "features", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_features_are_an_error(tmp_path):
    with pytest.raises(ArtifactError, match="no feature-store at"):
        run(tmp_path / "features", tmp_path / "out")


def test_features_are_left_as_they_were(features, tmp_path):
    before = {path: path.read_bytes() for path in features.rglob("*") if path.is_file()}
    run(features, tmp_path / "out")
    assert {path: path.read_bytes() for path in features.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["train", "validation"])
@pytest.mark.parametrize("feature_norm", ["l2", "center_l2", "whiten"])
def test_neither_batch_nor_shards_decide_the_health(features, tmp_path, write, name, feature_norm):
    """Invariant: what is said of a codebook is counted over all tokens, however they come."""
    run(features, tmp_path / "out", feature_norm=feature_norm)
    codebook, store = Codebook.open(tmp_path / "out"), FeatureStore.open(features / name)
    whole = measure(store, codebook, store.n * store.t).numbers()
    assert whole["tokens"] == store.n * store.t
    for batch in (1, 7, 13, 50):  # a batch below an image is one image
        assert measure(store, codebook, batch).numbers() == pytest.approx(whole, abs=1e-6)
    cut = tmp_path / "cut"
    write(cut, name, store.n, shard=1, tokens=store.tokens(range(store.n)))
    assert measure(FeatureStore.open(cut / name), codebook, 24).numbers() == pytest.approx(whole, abs=1e-6)
    # The numbers that the step wrote are rounded.
    assert metrics_of(tmp_path / "out")[name] == pytest.approx(whole, abs=1e-4)


def test_more_tokens_than_an_image_has_are_refused(features, tmp_path):
    with pytest.raises(
        ConfigError, match=r"quantize.tokens_per_image must be <= 6, the patch tokens of an image, got 7"
    ):
        run(features, tmp_path / "out", epochs=1, tokens_per_image=7)


def test_tokens_per_image_without_a_pass_that_looks_at_them_is_refused():
    with pytest.raises(ConfigError, match="tokens_per_image has an effect with epochs >= 1 of kmeans or ema"):
        QuantizeConfig.parse({"tokens_per_image": 2})
