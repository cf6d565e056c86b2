"""A folder through a tiny real model: what is measured, the page, the artifact, the verb."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from protoquant.analysis.drift.account import Abstaining, account
from protoquant.analysis.drift.drift import drift
from protoquant.analysis.drift.measure import _Tally, measure
from protoquant.analysis.drift.numbers import DriftVerdict, share_test
from protoquant.analysis.drift.page import render
from protoquant.analysis.drift.pictures import PicturePair, pictures
from protoquant.cli.main import app
from protoquant.core.artifacts import artifact_digest, open_artifact, read_json
from protoquant.core.errors import ArtifactError, DataError, UsageError
from protoquant.core.events import MessageEvent, ignore
from protoquant.model.classifier import Model
from protoquant.model.presence import presence
from tests.builders.backbones import load_backbone
from tests.builders.bundles import CLASSES
from tests.builders.models import TEMPERATURE, bundle_of, write_model
from tests.builders.pictures import small, write_pictures
from tests.builders.references import histograms

pytestmark = pytest.mark.model

EVIL = ("<script>alert(1)</script>", 'a"><img src=x onerror=alert(2)>', "{{ 7 * 7 }} & co")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(path):
    return Model.load(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Forty pictures drawn like those of training, and flat grey ones."""
    root = tmp_path_factory.mktemp("photos")
    write_pictures(root / "alike", range(3000, 3040))
    (root / "grey").mkdir()
    for shade in range(40):
        small(shade).point(lambda _, shade=shade: 100 + shade).save(root / "grey" / f"{shade:02d}.png")
    return root


def names_of(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*") if path.is_file())


def look(model, root, names=None):
    return measure(model, root=root, names=names or names_of(root), workers=2, on_event=ignore)


def run(model, root, out, on_event=ignore):
    return drift(model, root=root, names=names_of(root), title=root.name, out=out, workers=2, on_event=on_event)


def test_counts_are_those_of_the_presence_of_every_image(model, plain):
    root = plain / "alike"
    names = names_of(root)
    found = look(model, root)
    images = [small(int(name[2:6])) for name in names]
    seen = presence(model.backbone.features(model.backbone.batch(images)).tokens, model.codebook, TEMPERATURE)
    np.testing.assert_array_equal(found.counts, histograms(seen.scores[:, :5].numpy()))
    assert found.images == 40
    answers = model.answer([root / name for name in names])
    assert found.predicted.tolist() == [sum(one.label == label for one in answers) for label in range(3)]
    assert found.abstentions == sum(one.abstains for one in answers) > 0
    for code, nearest in enumerate(found.nearest):
        best = int(seen.scores[:, code].argmax())
        assert nearest.score == pytest.approx(float(seen.scores[best, code]), abs=1e-5)
        assert nearest.image in names


def test_cells_are_counted_along_the_rows_of_a_grid_that_is_not_square(tmp_path):
    """Code i is the patch in cell i of the one picture, which is seen in two rows of three."""
    backbone = load_backbone(tmp_path, input_size=(64, 96))
    small(7).save(tmp_path / "a.png")
    found = look(Model(bundle_of(backbone, small(7)), backbone), tmp_path, ["a.png"])
    assert [nearest.cell for nearest in found.nearest] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_the_model_abstains_below_its_threshold_and_not_at_it(model, tmp_path):
    small(3).save(tmp_path / "a.png")
    (answer,) = model.answer([tmp_path / "a.png"])
    for below, abstentions in ((answer.logit, 0), (answer.logit + 0.01, 1)):
        reference = replace(model.bundle.reference, abstain_below=below)
        changed = Model(replace(model.bundle, reference=reference), model.backbone)
        assert look(changed, tmp_path, ["a.png"]).abstentions == abstentions


def test_of_images_that_show_a_part_alike_the_first_is_kept():
    tally, cells = _Tally(torch.tensor([0]), 2), torch.tensor([[4], [5]])
    for names in ("ab", "cd"):
        tally.add([SimpleNamespace(name=name) for name in names], torch.tensor([[0.5], [0.5]]), cells, 3)
    assert [(nearest.image, nearest.cell) for nearest in tally.nearest] == [("a", (1, 1))]


def test_the_answers_are_held_against_those_of_validation(model, plain):
    """Five new images against forty of validation, which lie above the threshold, at it and below it."""
    below = model.bundle.abstain_below
    held = model.bundle.reference.answers.assign(logit=[below + 1.0] * 20 + [below] * 16 + [below - 1.0] * 4)
    bundle = replace(model.bundle, reference=replace(model.bundle.reference, answers=held))
    measured = look(model, plain / "grey", names_of(plain / "grey")[:5])
    found = account(bundle, measured)
    p_value = share_test(measured.abstentions, 5, 4, 40)
    assert found.abstaining == Abstaining(below, 4 / 40, measured.abstentions / 5, p_value)
    predicted = np.bincount(held["predicted"], minlength=3)
    assert predicted.tolist() != np.bincount(held["label"], minlength=3).tolist()
    assert {one.label: one.validation for one in found.classes} == dict(enumerate(predicted / 40))


def test_the_batch_does_not_matter_and_bad_images_are_set_aside(model, plain, tmp_path, monkeypatch):
    whole = look(model, plain / "alike")
    for path in names_of(plain / "alike"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((plain / "alike" / path).read_bytes())
    (tmp_path / "a" / "0000.jpg").write_text("no picture")
    (tmp_path / "z.png").touch()
    monkeypatch.setattr("protoquant.analysis.drift.measure.BATCH", 7)
    found = look(model, tmp_path)
    assert [(bad.name, bad.kind) for bad in found.bad] == [("a/0000.jpg", "not_an_image"), ("z.png", "zero_bytes")]
    np.testing.assert_array_equal(found.counts, whole.counts)
    assert found.predicted.tolist() == whole.predicted.tolist()
    with pytest.raises(DataError, match="none of the 1 images of"):
        look(model, tmp_path, ["z.png"])


def test_images_like_those_of_training_do_not_drift_and_grey_ones_do(model, plain, tmp_path):
    alike = run(model, plain / "alike", tmp_path / "alike").account
    assert alike.verdicts[DriftVerdict.STEADY] == 5
    assert "none of 5 prototypes moved" in alike.sentence()
    grey = run(model, plain / "grey", tmp_path / "grey").account
    gone = [part for part in grey.parts if part.verdict in (DriftVerdict.VANISHED, DriftVerdict.RARER)]
    assert gone
    assert "none of 5" not in grey.sentence()
    hit = [one for one in grey.classes if one.hit]
    assert all({code for code, _ in one.by} & {part.prototype for part in gone} for one in hit)
    page = (tmp_path / "grey" / "drift.html").read_text(encoding="utf-8")
    assert page.count('<article class="card">') == len(grey.moved)
    assert "data:image/webp;base64," in page


def test_the_artifact_holds_the_numbers_and_the_same_images_give_the_same_bytes(model, plain, tmp_path):
    one = run(model, plain / "grey", tmp_path / "one")
    manifest = open_artifact(one.out, "drift")
    assert set(manifest.files) == {"drift.json", "drift.html"}
    assert manifest.inputs == {"bundle": model.bundle.digest}
    held = read_json(one.out / "drift.json")
    assert held == one.account.to_dict()
    assert held["images"] == 40
    assert sum(held["verdicts"].values()) == len(held["prototypes"]) == 5
    assert [row["class_name"] for row in held["classes"]] == [CLASSES[row["label"]] for row in held["classes"]]
    assert str(tmp_path) not in (one.out / "drift.html").read_text(encoding="utf-8")
    other = run(model, plain / "grey", tmp_path / "other")
    assert artifact_digest(one.out) == artifact_digest(other.out)
    assert artifact_digest(run(model, plain / "grey", tmp_path / "other").out) == artifact_digest(one.out)


def test_few_images_are_answered_with_a_caution(model, plain):
    found = account(model.bundle, look(model, plain / "alike", names_of(plain / "alike")[:5]))
    assert "few enough that little can be told" in found.sentence()
    assert "Fewer than 30 images" in render(found, {}, title="few", digest="0" * 64)


def test_a_bundle_without_a_reference_says_what_to_do(model, plain, tmp_path):
    older = Model(replace(model.bundle, reference=None), model.backbone)
    with pytest.raises(ArtifactError, match=r"keeps no presence to compare with; run train again"):
        run(older, plain / "alike", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_never_abstains_says_nothing_of_it(model, plain):
    bundle = replace(model.bundle, reference=replace(model.bundle.reference, abstain_below=None))
    found = account(bundle, look(Model(bundle, model.backbone), plain / "alike"))
    assert "no known part" not in found.sentence()
    assert "no known part seen" not in render(found, {}, title="a", digest="0" * 64)


def test_names_are_escaped_on_the_page(model, plain):
    measured = look(model, plain / "grey")
    bad = tuple(replace(look_bad, name=name) for look_bad, name in zip(_bad(), EVIL, strict=True))
    nearest = tuple(replace(one, image=EVIL[1]) for one in measured.nearest)
    found = account(model.bundle, replace(measured, bad=bad, nearest=nearest))
    found = replace(found, names=EVIL)
    pairs = {
        part.prototype: PicturePair("data:image/png;base64,AA", "data:image/png;base64,AA") for part in found.moved
    }
    assert pairs
    page = render(found, pairs, title=EVIL[0], digest="0" * 64)
    assert EVIL[0] not in page
    assert EVIL[1] not in page
    assert "<img src=x" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }} &amp; co" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page


def _bad():
    from protoquant.model.folder import Bad

    return [Bad("", "truncated", f"ends early <b>{number}</b>") for number in range(3)]


def test_pictures_are_of_the_prototypes_that_moved(model, plain):
    found = account(model.bundle, look(model, plain / "grey"))
    shown = pictures(model.bundle, found, plain / "grey")
    assert set(shown) == {part.prototype for part in found.moved}
    assert all(pair.train is None and pair.now.startswith("data:image/webp;base64,") for pair in shown.values())
    gone = pictures(model.bundle, found, plain / "nowhere")
    assert all(pair.now is None for pair in gone.values())
    assert "no picture" in render(found, gone, title="a", digest="0" * 64)


def test_a_folder_with_other_things_is_not_replaced(model, plain, tmp_path, path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for out, sentence in ((tmp_path / "mine", "holds other things"), (tmp_path / "file", "is a file")):
        with pytest.raises(UsageError, match=sentence):
            run(model, plain / "alike", out)
    with pytest.raises(UsageError, match="must hold 'drift'"):
        run(model, plain / "alike", path)
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_the_verb(path, plain, tmp_path):
    def invoke(*words):
        return CliRunner().invoke(app, ["drift", *map(str, words)])

    done = invoke(plain / "grey", "-m", path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "In 40 new images: of 5 prototypes" in done.stdout
    assert (tmp_path / "out" / "drift.html").exists()
    told = json.loads(invoke(plain / "grey", "-m", path, "--out", tmp_path / "out", "--json").stdout)
    assert told == read_json(tmp_path / "out" / "drift.json")
    for words, code, sentence in (
        ([tmp_path / "no", "-m", path, "--out", tmp_path / "new"], 2, "is missing; give a folder of images"),
        ([tmp_path / "out", "-m", path, "--out", tmp_path / "new"], 1, "holds no image"),
        ([plain / "grey", "-m", path, "--out", plain], 2, "holds other things"),
    ):
        done = invoke(*words)
        assert done.exit_code == code
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_bad_images_are_told_of(model, plain, tmp_path):
    root = tmp_path / "photos"
    write_pictures(root, range(31))
    (root / "bad.png").touch()
    heard = []
    found = run(model, root, tmp_path / "out", heard.append)
    said = [event.text for event in heard if isinstance(event, MessageEvent)]
    assert said == ["left out because they cannot be read: 1, such as bad.png (zero_bytes)"]
    assert found.account.to_dict()["unreadable"][0]["image"] == "bad.png"
    assert "Images that cannot be read" in (tmp_path / "out" / "drift.html").read_text(encoding="utf-8")
