import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from protoquant.codebook.rest_codes import Rest
from protoquant.core.errors import ArtifactError, DataError, UsageError
from protoquant.model.bundle import Bundle
from protoquant.model.classifier import Model
from protoquant.model.head import head_logits
from protoquant.model.presence import presence
from protoquant.model.region import peak_region
from tests.builders.backbones import load_backbone, write_weights
from tests.builders.bundles import CLASSES, write_bundle
from tests.builders.models import bundle_of
from tests.builders.pictures import picture, pixels
from tests.builders.references import reference


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return write_bundle(folder / "bundle", bundle_of(load_backbone(folder), picture(7)))


@pytest.fixture(scope="module")
def model(path):
    return Model.load(path)


def test_forward_is_features_presence_head(model) -> None:
    images = model.backbone.batch([picture(1)])
    tokens = model.backbone.features(images).tokens
    expected = head_logits(presence(tokens, model.bundle.codebook, 0.05).scores, model.bundle.head)
    torch.testing.assert_close(model(images), expected)


def test_path_bytes_pil_and_array_give_one_answer(model, tmp_path) -> None:
    image = pixels(2)
    Image.fromarray(image).save(tmp_path / "a.png")
    file = tmp_path / "a.png"
    answers = model.predict([file, str(file), file.read_bytes(), Image.fromarray(image), image])
    assert len({answer.label for answer in answers}) == 1
    for answer in answers:
        assert answer.logits == pytest.approx(answers[0].logits, abs=1e-5)
        assert answer.class_name == CLASSES[answer.label]
        assert answer.logit == max(answer.logits)
        chances = torch.softmax(torch.tensor(answer.logits), dim=0)
        assert answer.probability == pytest.approx(float(chances.max()), abs=1e-6)


def test_predict_does_not_depend_on_the_batch(model, monkeypatch) -> None:
    images = [pixels(seed, width=150 + 10 * seed) for seed in range(5)]
    together = model.predict(images)
    monkeypatch.setattr("protoquant.model.classifier.BATCH", 2)
    for one, other in zip(together, model.predict(images), strict=True):
        assert one.logits == pytest.approx(other.logits, abs=1e-4)
    assert model.predict([]) == []


@pytest.mark.parametrize("label", [None, 0, 1, 2])
def test_contributions_sum_to_the_logit(model, label) -> None:
    found = model.explain(pixels(3), label)
    (answer,) = model.predict([pixels(3)])
    assert found.predicted == answer.label
    assert found.label == (answer.label if label is None else label)
    assert sum(part.contribution for part in found.contributions) == pytest.approx(found.logit, abs=1e-5)
    assert found.logit == pytest.approx(answer.logits[found.label], abs=1e-5)
    parts = [part.contribution for part in found.contributions]
    assert parts == sorted(parts, reverse=True)
    assert {part.code for part in found.contributions} == set(model.head[found.label].nonzero().flatten().tolist())
    for part in found.contributions:
        assert part.contribution == pytest.approx(part.score * part.weight, abs=1e-6)


def test_maps_boxes_and_patches(model) -> None:
    found = model.explain(pixels(4, width=300, height=200), 0)
    assert (found.width, found.height) == (300, 200)
    for part in found.contributions:
        assert part.similarity.shape == part.presence.shape == found.grid
        assert part.presence[part.cell] == part.presence.max() == pytest.approx(part.score, abs=1e-6)
        preprocessing = model.bundle.backbone.preprocessing
        assert part.region == peak_region(part.presence, part.cell)
        assert part.box == part.region.box(preprocessing.cell_box, found.grid, (300, 200))
        assert [(patch.image_id, patch.class_name, patch.crop) for patch in part.patches] == [
            ("train/a.png", "bee-eater", None)
        ]
    plain = found.to_dict()
    assert plain["contributions"][0]["similarity"] == found.contributions[0].similarity.tolist()


def test_cells_of_a_grid_that_is_not_square_are_where_the_codes_were_taken_from(tmp_path) -> None:
    """Code i is the patch in cell i of the picture, counted along rows of three."""
    backbone = load_backbone(tmp_path, input_size=(64, 96))
    wide = Model(bundle_of(backbone, picture(7)), backbone)
    assert wide.bundle.grid == (2, 3)
    for label in range(3):
        found, (answer,) = wide.explain(pixels(7), label), wide.answer([pixels(7)], label=label)
        for part in found.contributions:
            assert part.cell == divmod(part.code, 3)
            assert part.presence.shape == part.similarity.shape == (2, 3)
            assert part.presence[part.cell] == pytest.approx(part.score)
            assert part.similarity[part.cell] == pytest.approx(1.0, abs=1e-5)
        assert {part.prototype: part.cell for part in answer.contributions} == {
            part.code: part.cell for part in found.contributions
        }


def test_boxes_are_in_pixels_of_the_file_though_decoded_at_a_fraction(model, tmp_path) -> None:
    picture(5, 1600, 1200).save(tmp_path / "large.jpg", quality=95)
    found = model.explain(tmp_path / "large.jpg")
    assert (found.width, found.height) == (1600, 1200)
    assert found.view[2] > 1200


def test_what_is_no_image_is_named(model, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(DataError, match=r"notes\.txt is not an image"):
        model.predict([pixels(0), tmp_path / "notes.txt"])
    with pytest.raises(DataError, match=r"image 1: expected a uint8 array \(height, width, 3\), got float64 \(4, 4\)"):
        model.predict([pixels(0), np.zeros((4, 4))])
    with pytest.raises(DataError, match="image 0: expected a path, bytes, a PIL image or a uint8 array, got int"):
        model.predict([3])


def test_what_is_no_image_is_named_by_its_place_among_all(model, monkeypatch) -> None:
    monkeypatch.setattr("protoquant.model.classifier.BATCH", 2)
    for ask in (model.predict, model.answer):
        with pytest.raises(DataError, match="image 3: expected a uint8 array"):
            ask([pixels(0), pixels(1), pixels(2), np.zeros((4, 4))])


def test_the_nearest_training_patch_comes_first(model) -> None:
    """Whatever the order of the rows."""
    nearest = model.bundle.provenance
    second = nearest.assign(rank=1, image_id="train/b.png")
    turned = Model(replace(model.bundle, provenance=pd.concat([second, nearest])), model.backbone)
    for part in turned.explain(pixels(3)).contributions:
        assert [(patch.rank, patch.image_id) for patch in part.patches] == [(0, "train/a.png"), (1, "train/b.png")]


def test_wrong_use_is_named(model) -> None:
    with pytest.raises(UsageError, match=r"write predict\(\[image\]\)"):
        model.predict(pixels(0))
    with pytest.raises(UsageError, match=r"label must lie in \[0, 3\), got 3"):
        model.explain(pixels(0), 3)
    with pytest.raises(UsageError, match=r"label must lie in \[0, 3\), got -1"):
        model.answer([pixels(0)], label=-1)


def test_other_weights_are_refused(path, tmp_path) -> None:
    with pytest.raises(ArtifactError, match="the weights of test_convnext are not those"):
        Model.load(path, weights=write_weights(tmp_path, seed=1))


def test_loading_and_predicting_change_nothing(path, model) -> None:
    before = (model.backbone.state_digest(), model.codes.clone(), model.head.clone())
    model.train()
    model.predict([pixels(6)])
    model.explain(pixels(6))
    assert model.backbone.state_digest() == before[0]
    assert torch.equal(model.codes, before[1])
    assert torch.equal(model.head, before[2])
    assert Bundle.open(path).digest == model.bundle.digest


def test_rest_codes_compete_in_every_answer(path, tmp_path) -> None:
    """A bundle in which one unused code became a rest code says what the whole bundle says, also in an account."""
    bundle = Bundle.open(path)
    rest = Rest(bundle.codebook.codes[5:], torch.zeros(1))
    sink = replace(bundle, codebook=bundle.codebook.only(torch.arange(5), rest), head=bundle.head[:, :5].clone())
    whole, part = Model.load(path), Model.load(write_bundle(tmp_path / "sink", sink))
    image = pixels(3)
    assert part.predict([image])[0].logits == pytest.approx(whole.predict([image])[0].logits, abs=1e-5)
    one, other = part.explain(image), whole.explain(image)
    assert [part.code for part in one.contributions] == [part.code for part in other.contributions]
    for mine, theirs in zip(one.contributions, other.contributions, strict=True):
        assert np.allclose(mine.presence, theirs.presence, atol=1e-5)
    batch = whole.backbone.batch([Image.fromarray(image)])
    torch.testing.assert_close(part(batch), whole(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("label", [None, 0, 1, 2])
def test_answers_are_the_strongest_parts_of_the_explanation(model, label) -> None:
    image = pixels(3, width=300, height=200)
    whole, (answer,) = model.explain(image, label), model.answer([image], top=2, label=label)
    assert (answer.label, answer.class_name, answer.abstains) == (whole.label, whole.class_name, False)
    assert answer.probability == pytest.approx(whole.probability, abs=1e-6)
    assert answer.logit == pytest.approx(whole.logit, abs=1e-6)
    assert len(answer.contributions) == min(2, len(whole.contributions))
    for part, full in zip(answer.contributions, whole.contributions, strict=False):
        assert (part.prototype, part.cell, part.box) == (full.code, full.cell, full.box)
        assert (part.score, part.weight) == (pytest.approx(full.score, abs=1e-6), full.weight)
        assert (part.train_image, part.train_class) == ("train/a.png", "bee-eater")
    assert model.answer([image], top=0)[0].contributions == ()
    assert model.answer([]) == []


def test_answers_do_not_depend_on_the_batch_and_are_plain_values(model, monkeypatch) -> None:
    images = [pixels(seed, width=150 + 10 * seed) for seed in range(5)]
    together = [answer.to_dict() for answer in model.answer(images)]
    monkeypatch.setattr("protoquant.model.classifier.BATCH", 1)
    for one, other in zip(together, model.answer(images), strict=True):
        assert one["logit"] == pytest.approx(other.logit, abs=1e-4)
        assert [part["prototype"] for part in one["contributions"]] == [p.prototype for p in other.contributions]
        assert [part["box"] for part in one["contributions"]] == [p.to_dict()["box"] for p in other.contributions]
    assert json.loads(json.dumps(together)) == together


def test_below_the_threshold_the_model_abstains(model) -> None:
    (answer,) = model.answer([pixels(1)])
    for below, abstains in ((answer.logit + 0.01, True), (answer.logit, False), (None, False)):
        measured = reference(range(5), [0], [0], below=below)
        changed = Model(replace(model.bundle, reference=measured), model.backbone)
        for label in (None, 0, 1, 2):
            assert changed.answer([pixels(1)], label=label)[0].abstains is abstains
