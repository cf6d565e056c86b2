import shutil

import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.nearest_images import NearestImages
from protoquant.codebook.probe import LinearProbe, top1
from protoquant.core.artifacts import open_artifact, read_json, read_table, writing
from protoquant.core.errors import ArtifactError, DataError
from protoquant.core.events import EpochEvent, MessageEvent, ProgressEvent, ignore
from protoquant.core.seeding import torch_generator
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import write_store
from protoquant.head import inputs as module
from protoquant.head.candidates import fit_candidates
from protoquant.head.config import BudgetConfig, TrainConfig
from protoquant.head.solvers import registry
from protoquant.head.solvers.gradient import train_epochs
from protoquant.head.solvers.gradient_config import GradientHeadConfig
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.train import train
from protoquant.model.bundle import Bundle
from protoquant.model.head import head_logits
from protoquant.model.presence import presence
from protoquant.model.scored_split import ScoredSplit

pytestmark = pytest.mark.model

CONFIG = TrainConfig(
    codes="free",
    mixture=None,
    temperature=(0.1, 0.3),
    solver="proximal",
    budget=None,
    joint=None,
    choice=None,
    points=5,
    ratio=0.02,
    crops=1,
    solver_tolerance=0.001,
)
COLUMNS = (
    "temperature,penalty,objective,residual,gap,iterations,epoch,refit_residual,refit_gap,refit_iterations,"
    "nonzeros,prototypes,class_size,train_top1,validation_top1,selected"
)


def fit(inputs, out, config=CONFIG, on_event=ignore):
    return train(config, **inputs, out=out, device=torch.device("cpu"), seed=0, on_event=on_event)


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


def test_scores_on_disk_change_no_byte(inputs, tmp_path, monkeypatch) -> None:
    fit(inputs, tmp_path / "memory" / "bundle")
    monkeypatch.setattr(module, "MAPPED", 0)
    mapped = []
    from_file = torch.from_file
    monkeypatch.setattr(torch, "from_file", lambda *args, **kinds: mapped.append(args) or from_file(*args, **kinds))
    fit(inputs, tmp_path / "disk" / "bundle")
    assert len(mapped) == 2 * len(CONFIG.temperatures)
    assert [one.name for one in (tmp_path / "disk").iterdir()] == ["bundle"]
    for file in (tmp_path / "memory").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "disk" / file.relative_to(tmp_path / "memory")).read_bytes()


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
    assert set(heads[0].values) == {"temperature", "class_size", "objective", "gap", "validation_top1"}
    texts = [event.text for event in events if isinstance(event, MessageEvent)]
    assert texts[-1].startswith("head: validation top-1 1.0000, linear probe 0.3333, n = 12; ")


def test_a_head_that_is_not_finished_is_said(inputs, tmp_path) -> None:
    events = []
    fit(inputs, tmp_path / "bundle", CONFIG.model_copy(update={"max_iterations": 1}), on_event=events.append)
    warnings = [event.text for event in events if isinstance(event, MessageEvent) and event.level == "warning"]
    assert warnings
    assert "raise train.max_iterations" in warnings[0]


def test_a_second_fit_that_is_not_finished_is_said(inputs, tmp_path, monkeypatch) -> None:
    events, refit = [], registry.refit
    monkeypatch.setattr(
        registry, "refit", lambda given, first, share, limits: refit(given, first, share, Limits(1e-9, 1))
    )
    result = fit(inputs, tmp_path / "bundle", on_event=events.append)
    warnings = [event.text for event in events if isinstance(event, MessageEvent) and event.level == "warning"]
    assert any("the second fit is" in text and "after 1 steps" in text for text in warnings)
    assert all(text.endswith("rounding allows no less, so raise that") for text in warnings), "train allows more steps"
    assert not any("the head is" in text for text in warnings)
    assert any(one.refit_residual > CONFIG.solver_tolerance for one in result.candidates)
    assert {one.refit_iterations for one in result.candidates} == {1}


BUDGET = TrainConfig(
    codes="free",
    mixture=None,
    temperature=(0.1, 0.3),
    budget=BudgetConfig(sizes=(1, 2, 4)),
    choice=None,
    joint=None,
    crops=1,
)
GRADIENT = TrainConfig(
    codes="free",
    mixture=None,
    temperature=(0.1, 0.3),
    crops=1,
    solver="gradient",
    budget=None,
    joint=None,
    choice=None,
    gradient=GradientHeadConfig(
        epochs=20, warmup_epochs=2, batch=8, lr=0.1, penalties=(0.0, 0.2), objective="log", smoothing=0.1, mixup=0.2
    ),
)


def test_the_papers_training_gives_candidates_too(inputs, tmp_path) -> None:
    events = []
    result = fit(inputs, tmp_path / "bundle", GRADIENT, events.append)
    assert [(one.temperature, one.penalty) for one in result.candidates] == [(0.1, 0), (0.1, 0.2), (0.3, 0), (0.3, 0.2)]
    assert all(1 <= one.epoch <= 20 and one.iterations == 3 * one.epoch for one in result.candidates)
    assert all(one.gap > 0 and one.refit_iterations == 0 for one in result.candidates)
    assert result.chosen.penalty == 0.2  # both tell the classes apart, one of them with fewer weights
    assert result.chosen.validation_top1 == 1.0
    assert Bundle.open(tmp_path / "bundle").head.min() == 0
    assert pd.read_csv(tmp_path / "bundle" / "path.csv")["epoch"].tolist() == [one.epoch for one in result.candidates]
    done = [event for event in events if isinstance(event, ProgressEvent) and event.unit == "epochs"]
    assert sum(event.done == event.total == 20 for event in done) == 4
    fit(inputs, tmp_path / "again", GRADIENT)
    files = [one.relative_to(tmp_path / "again") for one in (tmp_path / "again").rglob("*") if one.is_file()]
    assert all((tmp_path / "again" / file).read_bytes() == (tmp_path / "bundle" / file).read_bytes() for file in files)


def test_validation_chooses_the_epoch() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(40, 5, generator=generator), torch.arange(40) % 2
    config = GradientHeadConfig(epochs=12, warmup_epochs=0, batch=8, lr=0.1, penalties=(0.01, 0.1))
    section = TrainConfig(
        codes="free",
        mixture=None,
        temperature=0.1,
        solver="gradient",
        budget=None,
        joint=None,
        choice=None,
        gradient=config,
    )
    train_split, held = (
        ScoredSplit((scores[rows],), torch.zeros(20, 2), NearestImages.empty(5, 1, torch.device("cpu")), labels[rows])
        for rows in (slice(0, 20), slice(20, 40))
    )
    fitted = fit_candidates(section, train_split, held, 2, class_weights=None, seed=3, on_event=ignore)
    for one in fitted:
        penalty = one.candidate.penalty
        stream = torch_generator(3, "head", "0.1", f"{penalty:g}")
        epochs = list(train_epochs(Problem(scores[:20], labels[:20], 2), penalty, config, stream))
        rows = [(top1(head_logits(scores[20:], epoch.weights), labels[20:]), epoch) for epoch in epochs]
        best = max(accuracy for accuracy, _ in rows)
        fewest = min(int((epoch.weights > 0).sum()) for accuracy, epoch in rows if accuracy == best)
        assert one.candidate.validation_top1 == best > min(accuracy for accuracy, _ in rows)
        assert one.candidate.nonzeros == fewest
        assert torch.equal(one.weights.to_dense(), epochs[one.candidate.epoch - 1].weights)


def alike(inputs) -> None:
    """Make every token the same, and a codebook that was learned from no features in particular."""
    for name in ("train", "validation"):
        store = FeatureStore.open(inputs["features"] / name)
        tokens = torch.ones(store.n, store.t, store.d, dtype=torch.float16)
        write_store(store.path, tokens, store.labels, store.image_ids, store.grid, store.backbone)
    opened = Codebook.open(inputs["codebook"])
    probe = LinearProbe.open(inputs["codebook"])
    with writing(inputs["codebook"], "codebook") as folder:
        opened.save(folder)
        probe.save(folder)


def test_scores_that_tell_nothing_are_an_error(inputs, tmp_path) -> None:
    alike(inputs)
    for config in (CONFIG, BUDGET):
        with pytest.raises(DataError, match=r"at temperature 0\.1 no code tells any class apart"):
            fit(inputs, tmp_path / "bundle", config)


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
