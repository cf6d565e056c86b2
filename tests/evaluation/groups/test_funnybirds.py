"""The whole way: birds drawn without their parts, a small backbone, both explanations, every number."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from protoquant.core.errors import DataError
from protoquant.core.events import Event, MessageEvent, ignore
from protoquant.data import table as image_table
from protoquant.data.config import PrepareConfig
from protoquant.data.parts import table as part_table
from protoquant.data.parts.table import PartTable
from protoquant.data.prepare import prepare
from protoquant.data.table import ImageTable
from protoquant.evaluation import interventions
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups.funnybirds import CURVES, TABLE, class_parts, measure
from protoquant.evaluation.interventions import Removals, answer, removals
from protoquant.evaluation.metrics.funnybirds.summary import BY_THRESHOLD, THRESHOLDS, WITHOUT_THRESHOLD
from protoquant.evaluation.subject import GroupResult, Subject
from protoquant.evaluation.trials import explain, try_images
from protoquant.features.config import ExtractConfig
from protoquant.features.extract import extract
from protoquant.features.store.store import FeatureStore
from protoquant.model.presence import presence
from tests.builders.backbones import write_weights
from tests.builders.bundles import bundle

pytestmark = pytest.mark.model

NAMES = (*BY_THRESHOLD, *WITHOUT_THRESHOLD, "completeness", "correctness", "contrastivity", "mean")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Eight test images of four classes, and a model of 24 patches, each for the classes that show more of it."""
    folder = tmp_path_factory.mktemp("funnybirds")
    (folder / "birds.yaml").write_text("classes: 4\ntrain: 1\nvalidation: 1\ntest: 2\nsize: 64\n")
    drawn = {"root": folder / "birds.yaml", "out": folder / "images", "parts": folder / "parts"}
    prepare(PrepareConfig(root="birds.yaml", interventions=True), **drawn, seed=0, on_event=ignore)
    weights = {"backbone": "test_resnet", "weights": "file", "weights_file": str(write_weights(folder, "test_resnet"))}
    made = {"images": folder / "images", "root": folder, "out": folder / "features", "cache": folder / "cache"}
    config = ExtractConfig(**weights, input_size=(64, 64))
    extract(config, **made, device="cpu", seed=0, workers=1, on_event=ignore)
    images, store = ImageTable.open(folder / "images", folder), FeatureStore.open(folder / "features" / "test")
    tokens = store.tokens(range(store.n)).float()
    codes = tokens.reshape(-1, store.d)[:: tokens.shape[0] * store.t // 24][:24]
    made_of_codes = bundle(
        torch.nn.functional.normalize(codes), torch.ones(4, 24), temperature=0.02,
        classes=images.classes, grid=store.grid, backbone=store.backbone,
    )  # fmt: skip
    scores = presence(tokens, made_of_codes.codebook, 0.02).scores
    of_class = torch.stack([scores[store.labels == label].mean(dim=0) for label in range(4)])
    head = (of_class - scores.mean(dim=0)).clamp(min=0)
    parts = PartTable.open(folder / "parts", folder)
    return Subject(
        bundle=replace(made_of_codes, head=head), images=images, parts=parts, features=folder / "features",
        config=EvaluateConfig(resamples=100), seed=0, device=torch.device("cpu"), on_event=ignore,
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured(subject: Subject) -> GroupResult:
    return measure(subject, "test")


def test_every_number_has_its_n_and_lies_between_0_and_1(measured: GroupResult) -> None:
    numbers = measured.numbers
    assert set(numbers) == {"accuracy", "background_independence", "skipped", "at_edge", "map", "box"}
    estimates = [numbers[name] for name in ("accuracy", "background_independence")]
    for name in ("map", "box"):
        assert THRESHOLDS[0] <= numbers[name]["threshold"] <= THRESHOLDS[-1]
        assert numbers[name]["fixed"]["threshold"] == 0.1
        estimates += [numbers[name][key] for key in NAMES] + [numbers[name]["fixed"][key] for key in NAMES]
    # No two of four classes share two parts each with a third here, so nothing is contrasted.
    known = [one for one in estimates if one is not None]
    assert len(known) >= 2 + 2 * 2 * 5
    for one in known:
        assert set(one) == {"value", "n", "low", "high"}
        assert 0 <= one["low"] <= one["value"] <= one["high"] <= 1
        assert 1 <= one["n"] <= 8


def test_skipped_images_and_others_are_all_of_them(measured: GroupResult) -> None:
    for name in ("map", "box"):
        for key in (*BY_THRESHOLD, *WITHOUT_THRESHOLD):
            skipped = sum(measured.numbers[name]["skipped"].get(key, {}).values())
            found = measured.numbers[name][key]
            assert skipped + (0 if found is None else found["n"]) == 8


def test_accuracy_is_that_of_the_stored_tokens(subject: Subject, measured: GroupResult) -> None:
    known = subject.sightings("test")
    right = (known.predicted == known.labels).mean()
    assert right > 0.25
    assert measured.numbers["accuracy"]["value"] == right


def test_tables(measured: GroupResult) -> None:
    table, curves = measured.tables[TABLE], measured.tables[CURVES]
    assert len(table) == 2 * 8
    assert len(curves) == 2 * (len(THRESHOLDS) + 1)
    for name, rows in table.groupby("explainer"):
        for key in (*BY_THRESHOLD, *WITHOUT_THRESHOLD):
            if measured.numbers[name][key] is not None:
                assert rows[key].mean() == pytest.approx(measured.numbers[name][key]["value"])
            assert rows[key].notna().sum() == 8 - sum(measured.numbers[name]["skipped"].get(key, {}).values())
        of_method = curves[curves["explainer"] == name].reset_index(drop=True)
        (chosen,) = of_method.index[of_method["chosen"]]
        assert of_method["threshold"][chosen] == measured.numbers[name]["threshold"]
        assert of_method["preservation_check"][chosen] == measured.numbers[name]["preservation_check"]["value"]
        fixed = measured.numbers[name]["fixed"]["preservation_check"]["value"]
        assert of_method["preservation_check"].iloc[-1] == rows["preservation_check_fixed"].mean() == fixed


def answered(subject: Subject, image_id: str) -> interventions.Answered:
    found = removals(subject.parts.split("test").interventions, subject.parts.schema.parts)[image_id]
    assert found is not None
    return answer(subject, "test", image_id, found)


def test_numbers_depend_neither_on_the_batch_nor_on_other_images(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = try_images(subject, "test")
    alone = answered(subject, tried.image_ids[5]).trial
    assert np.array_equal(alone.kept, tried.trials[5].kept)
    assert np.array_equal(alone.without_object, tried.trials[5].without_object)
    monkeypatch.setattr(interventions, "BATCH", 1)
    singly = answered(subject, tried.image_ids[5]).trial
    # Tokens are rounded to half precision, so a last bit of the backbone may move one by a thousandth.
    assert singly.kept == pytest.approx(alone.kept, abs=1e-3 * float(subject.head.sum(axis=1).max()))


def test_a_removal_changes_the_answer_as_a_photo_of_it_would(subject: Subject) -> None:
    """The bird without its wing is another image; one without nothing is the image itself."""
    image_id = subject.store("test").image_ids[0]
    trial = answered(subject, image_id).trial
    rows = subject.parts.split("test").interventions
    path = rows[(rows["image_id"] == image_id) & (rows["removed"] == "wing")]["path"].item()
    tokens = subject.backbone.features(subject.backbone.batch([subject.parts.split("test").intervention(path)])).tokens
    scores = presence(tokens.half(), subject.bundle.codebook, subject.bundle.temperature).scores
    assert trial.without_part[4] == pytest.approx((scores.double().numpy() @ subject.head.T)[0], abs=1e-3)
    assert not np.array_equal(trial.without_part[4], trial.logits)
    assert np.array_equal(trial.kept[-1], subject.sightings("test").logits[0])


def test_what_changes_no_pixel_keeps_the_scores_of_the_image(subject: Subject) -> None:
    """They are the known ones, not computed again, so that nothing is felt where nothing is seen."""
    views = [np.full((64, 64, 3), level, dtype=np.uint8) for level in (9, 9, 200, 200)]
    known = np.array([5.0, 6.0, 7.0, 8.0])
    found = interventions._logits(subject, "test", views, known)
    assert found[:2].tolist() == [known.tolist()] * 2
    assert np.array_equal(found[2], found[3])
    assert not np.array_equal(found[2], known)


def test_an_object_is_where_its_removal_changes_the_image(subject: Subject) -> None:
    image_id = subject.store("test").image_ids[0]
    found = answered(subject, image_id)
    rows = subject.parts.split("test").interventions
    rows = rows[(rows["image_id"] == image_id) & (rows["kind"] == "object")]
    assert len(found.objects) == len(rows) == len(found.trial.without_object) > 1
    image = np.asarray(subject.images.split("test").image(image_id)).astype(int)
    # The view is the middle 64 of 67 pixels, to which the image's 64 are enlarged.
    placed = subject.bundle.backbone.preprocessing.placement(64, 64)
    assert (placed.width, placed.height, placed.left, placed.top) == (67, 67, 2, 2)
    seen = np.floor((np.arange(64) + 2 + 0.5) * 64 / 67).astype(int)
    for number, path in zip(rows["removed"].astype(int), rows["path"], strict=True):
        other = np.asarray(subject.parts.split("test").intervention(path)).astype(int)
        changed = np.abs(image - other).sum(axis=2) > 0
        # One pixel's centre falls between two of the image, where Pillow takes the other.
        assert (found.objects[number] != changed[np.ix_(seen, seen)]).sum() <= 2
        assert found.objects[number].any()


def test_all_evidence_of_the_boxes_is_the_score_times_the_pixels_of_a_box(subject: Subject) -> None:
    image_id = subject.store("test").image_ids[3]
    found = explain(subject, "test", image_id, np.ones((1, 64, 64), dtype=bool))
    assert found["box"][0] == pytest.approx(subject.sightings("test").logits[3] * 9 * 9)


def test_an_image_without_all_interventions_is_left_out_and_counted(subject: Subject) -> None:
    parts, first = subject.parts.split("test"), subject.store("test").image_ids[0]
    rows = parts.interventions
    lost = (rows["image_id"] == first) & (rows["removed"] == "beak+tail")
    assert lost.sum() == 1
    events: list[Event] = []
    found = try_images(fewer(subject, rows[~lost], events), "test")
    assert found.image_ids == tuple(sorted(set(subject.store("test").image_ids) - {first}))
    (message,) = [event for event in events if isinstance(event, MessageEvent)]
    assert message.level == "warning"
    assert message.text == f"funnybirds leaves out 1 of 8 images, which lack removals of parts, as {first}"


def test_tables_of_a_split_are_checked_once_however_many_images(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Counter[str]()
    for module in (part_table, image_table):

        def counting(path: Path, *given: Any, known: Any = module.open_artifact, **named: Any) -> Any:
            opened[str(path)] += 1
            return known(path, *given, **named)

        monkeypatch.setattr(module, "open_artifact", counting)
    fresh = replace(subject)
    fresh.__dict__["backbone"] = subject.backbone
    assert len(try_images(fresh, "test").trials) == 8
    # The images' manifest is read with their table and once more for their folder.
    assert opened == {str(subject.parts.parts / "test"): 1, str(subject.images.images / "test"): 2}


def test_no_image_with_all_interventions_is_one_line(subject: Subject) -> None:
    rows = subject.parts.split("test").interventions
    with pytest.raises(DataError, match="needs images without each of the 31 sets of beak, eye, foot, tail, wing"):
        try_images(fewer(subject, rows[rows["removed"] != "eye"], []), "test")


def fewer(subject: Subject, rows: Any, events: list[Event]) -> Subject:
    """The same with these interventions alone."""
    split = subject.parts.split("test")
    kept = SimpleNamespace(interventions=rows, labels=split.labels, intervention=split.intervention)
    parts = SimpleNamespace(schema=subject.parts.schema, split=lambda name: kept, parts=subject.parts.parts)
    return replace(subject, parts=parts, on_event=events.append)


def test_classes_are_numbered_by_variant(subject: Subject) -> None:
    values, variants = class_parts(subject).values, subject.parts.schema.variants
    assert variants is not None
    assert values.shape == (4, 5)
    for number, part in enumerate(subject.parts.schema.parts):
        names = [variants[name][part] for name in subject.bundle.classes]
        assert [[one == other for other in names] for one in names] == (
            values[:, number][:, None] == values[:, number]
        ).tolist()


def test_classes_without_variants_are_one_line(subject: Subject) -> None:
    strange = replace(subject, bundle=replace(subject.bundle, classes=("x", *subject.bundle.classes[1:])))
    with pytest.raises(DataError, match=r"needs the variants of the parts of every class, and .* names none of x"):
        class_parts(strange)


def test_removals_of_an_image_by_hand(subject: Subject) -> None:
    rows = subject.parts.split("test").interventions.head(0)
    given = [("parts", "eye"), ("parts", "beak"), ("parts", "beak+eye"), ("object", "10"), ("object", "9")]
    for number, (kind, removed) in enumerate(given):
        rows.loc[number] = ["a.png", kind, removed, f"{removed}.png", ""]
    # Kept: nothing, beak, eye, both.
    expected = Removals(("beak+eye.png", "eye.png", "beak.png", None), ("9.png", "10.png"))
    assert removals(rows, ["beak", "eye"]) == {"a.png": expected}
    assert removals(rows[rows["removed"] != "eye"], ["beak", "eye"]) == {"a.png": None}
