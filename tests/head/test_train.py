import shutil

import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import open_artifact, read_json, read_table, writing
from protoquant.core.errors import ArtifactError, DataError
from protoquant.core.events import EpochEvent, MessageEvent, ignore
from protoquant.features.store import FeatureStore, write_store
from protoquant.head.bundle import Bundle
from protoquant.head.config import TrainConfig
from protoquant.head.head import head_logits
from protoquant.head.presence import presence
from protoquant.head.train import train

CONFIG = TrainConfig(temperature=(0.1, 0.3), points=5, ratio=0.02, crops=1, solver_tolerance=0.001)
COLUMNS = (
    "temperature,penalty,objective,residual,iterations,"
    "nonzeros,prototypes,class_size,train_top1,validation_top1,selected"
)


@pytest.fixture
def inputs(features, images, codebook, tmp_path):
    return {"images": images, "root": tmp_path, "features": features, "codebook": codebook}


def fit(inputs, out, config=CONFIG, on_event=ignore):
    return train(config, **inputs, out=out, device=torch.device("cpu"), on_event=on_event)


def test_tells_separable_classes_apart_with_few_prototypes(inputs, tmp_path) -> None:
    result = fit(inputs, tmp_path / "bundle")
    assert result.chosen.validation_top1 == 1.0
    assert result.chosen.class_size <= 2.0
    assert result.probe_top1 == pytest.approx(1 / 3)
    bundle = Bundle.open(tmp_path / "bundle")
    # Codes 6 and 7 lie on the background, which tells no class.
    assert set(bundle.prototypes.tolist()) <= set(range(6))
    for label in range(3):
        assert set(bundle.head[label].nonzero().flatten().tolist()) <= {2 * label, 2 * label + 1}


def test_never_opens_test(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "with")
    shutil.rmtree(inputs["features"] / "test")
    shutil.rmtree(inputs["images"] / "test")
    fit(inputs, tmp_path / "without")
    for file in (tmp_path / "with").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "without" / file.relative_to(tmp_path / "with")).read_bytes()


def test_same_inputs_same_bytes(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "a")
    fit(inputs, tmp_path / "b")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 6
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_path_holds_every_head_and_the_one_taken(inputs, tmp_path) -> None:
    result = fit(inputs, tmp_path / "bundle")
    text = (tmp_path / "bundle" / "path.csv").read_text()
    assert text.splitlines()[0] == COLUMNS
    table = pd.read_csv(tmp_path / "bundle" / "path.csv")
    assert len(table) == len(result.candidates) == 2 * 5
    assert table["selected"].sum() == 1
    taken = table[table["selected"] == 1].iloc[0]
    best = table["validation_top1"].max()
    assert taken["validation_top1"] >= best - CONFIG.tolerance
    good = table[table["validation_top1"] >= best - CONFIG.tolerance]
    assert taken["nonzeros"] == good["nonzeros"].min()
    assert (table["residual"] <= CONFIG.solver_tolerance).all()
    bundle = Bundle.open(tmp_path / "bundle")
    assert int((bundle.head > 0).sum()) == taken["nonzeros"]
    assert len(bundle.prototypes) == taken["prototypes"]
    assert taken["class_size"] == pytest.approx(taken["nonzeros"] / 3)
    assert bundle.temperature == taken["temperature"]


def test_metrics_are_those_of_the_bundle(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "bundle")
    bundle, metrics = Bundle.open(tmp_path / "bundle"), read_json(tmp_path / "bundle" / "metrics.json")
    for name in ("train", "validation"):
        store = FeatureStore.open(inputs["features"] / name)
        tokens = store.tokens(list(range(store.n)))
        logits = head_logits(presence(tokens, bundle.codebook, bundle.temperature).scores, bundle.head)
        assert metrics[name] == {"top1": float((logits.argmax(dim=1) == store.labels).float().mean()), "n": store.n}
        assert metrics["probe"][name]["top1"] == pytest.approx(1 / 3, abs=1e-6)


def test_provenance_points_at_the_very_patch(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "bundle")
    bundle, store = Bundle.open(tmp_path / "bundle"), FeatureStore.open(inputs["features"] / "train")
    table = read_table(tmp_path / "bundle" / "provenance.parquet")
    assert table.groupby("code")["image_id"].nunique().eq(8).all()
    similarity = bundle.codebook.similarity(store.tokens(list(range(store.n))))
    for row in table.itertuples():
        image = store.image_ids.index(row.image_id)
        assert float(similarity[image, row.row * 3 + row.col, row.code]) == pytest.approx(row.cosine, abs=1e-6)
        assert row.label == int(store.labels[image])
    for _, rows in table.groupby("code"):
        assert rows["cosine"].is_monotonic_decreasing


def test_codes_stay_as_quantize_left_them(inputs, tmp_path) -> None:
    before = Codebook.open(inputs["codebook"])
    fit(inputs, tmp_path / "bundle")
    assert torch.equal(Bundle.open(tmp_path / "bundle").codebook.codes, before.codes)
    assert open_artifact(tmp_path / "bundle", "bundle").inputs["features/train"]


def test_crops_can_be_left_out(inputs, tmp_path) -> None:
    for image in (inputs["images"] / "train").glob("*.png"):
        image.write_bytes(bytes(image.stat().st_size))  # nothing of the originals may be needed
    fit(inputs, tmp_path / "bundle", CONFIG.model_copy(update={"crops": 0}))
    assert not (tmp_path / "bundle" / "crops").exists()
    assert Bundle.open(tmp_path / "bundle").crop(0, 0) is None


def test_failure_leaves_the_old_bundle(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "bundle")
    before = (tmp_path / "bundle" / "manifest.json").read_bytes()
    for number in range(3):
        (inputs["images"] / "train" / f"00{number}.png").unlink()
    with pytest.raises(ArtifactError, match=r"00\d\.png is missing"):
        fit(inputs, tmp_path / "bundle", CONFIG.model_copy(update={"crops": 8}))
    assert (tmp_path / "bundle" / "manifest.json").read_bytes() == before


def test_codebook_of_other_features_is_refused(inputs, tmp_path) -> None:
    store = FeatureStore.open(inputs["features"] / "train")
    tokens = store.tokens(list(range(store.n))) * 2
    write_store(store.path, tokens, store.labels, store.image_ids, store.grid, store.backbone)
    with pytest.raises(ArtifactError, match="was learned from other features/train"):
        fit(inputs, tmp_path / "bundle")


def test_progress_tells_of_every_head_and_ends_with_a_sentence(inputs, tmp_path) -> None:
    events = []
    fit(inputs, tmp_path / "bundle", on_event=events.append)
    heads = [event for event in events if isinstance(event, EpochEvent)]
    assert [event.epoch for event in heads] == list(range(1, 11))
    assert set(heads[0].values) == {"temperature", "class_size", "objective", "validation_top1"}
    assert events[-1].text.startswith("head: validation top-1 1.0000, linear probe 0.3333, n = 12; ")


def test_a_head_that_is_not_finished_is_said(inputs, tmp_path) -> None:
    events = []
    fit(inputs, tmp_path / "bundle", CONFIG.model_copy(update={"max_iterations": 1}), on_event=events.append)
    warnings = [event.text for event in events if isinstance(event, MessageEvent) and event.level == "warning"]
    assert warnings
    assert "raise train.max_iterations" in warnings[0]


def test_scores_that_tell_nothing_are_an_error(inputs, tmp_path) -> None:
    for name in ("train", "validation"):
        store = FeatureStore.open(inputs["features"] / name)
        tokens = torch.ones(store.n, store.t, store.d, dtype=torch.float16)
        write_store(store.path, tokens, store.labels, store.image_ids, store.grid, store.backbone)
    opened = Codebook.open(inputs["codebook"])
    probe = LinearProbe.open(inputs["codebook"])
    with writing(inputs["codebook"], "codebook") as folder:
        opened.save(folder)
        probe.save(folder)
    with pytest.raises(DataError, match=r"at temperature 0\.1 no code tells any class apart"):
        fit(inputs, tmp_path / "bundle")


@pytest.mark.parametrize(("method", "patches"), [("medoid", None), ("chosen", 4), ("mean", 4)])
def test_grounded_codes_are_named_scored_and_priced(inputs, tmp_path, method, patches) -> None:
    config = CONFIG.model_copy(update={"grounding": method, "grounding_patches": patches})
    heard = []
    result = fit(inputs, tmp_path / "bundle", config, heard.append)
    bundle, learned = Bundle.open(tmp_path / "bundle"), Codebook.open(inputs["codebook"])
    assert result.chosen.validation_top1 == 1.0
    found = bundle.metrics["grounding"]
    assert (found["method"], found["patches"], found["before"], found["after"]) == (method, patches, 1.0, 1.0)
    assert found["price"] == 0.0
    assert bundle.metrics["validation"]["n"] == (6 if method == "chosen" else 12)  # those that chose do not measure
    assert any(isinstance(one, MessageEvent) and f"grounding {method}: validation top-1" in one.text for one in heard)
    assert not torch.equal(bundle.codebook.codes, learned.codes)
    store = FeatureStore.open(inputs["features"] / "train")
    units = learned.norm.apply(store.tokens(range(store.n)))
    for code, rows in bundle.provenance.groupby("code"):
        own = rows.head(patches if method == "mean" else 1)
        places = [(store.image_ids.index(row.image_id), row.row * 3 + row.col) for row in own.itertuples()]
        mean = torch.stack([units[place] for place in places]).mean(dim=0)
        torch.testing.assert_close(bundle.codebook.codes[code], torch.nn.functional.normalize(mean, dim=0))
        assert rows["image_id"].is_unique
        assert rows["rank"].tolist() == list(range(8))
    head_scores = presence(store.tokens(range(store.n)), bundle.codebook, bundle.temperature).scores
    hits = (head_logits(head_scores, bundle.head).argmax(dim=1) == store.labels).float().mean()
    assert bundle.metrics["train"]["top1"] == pytest.approx(float(hits), abs=1e-6)


def test_centroids_have_no_price(inputs, tmp_path) -> None:
    fit(inputs, tmp_path / "bundle")
    assert Bundle.open(tmp_path / "bundle").metrics["grounding"] == {"method": "centroid", "patches": None}
