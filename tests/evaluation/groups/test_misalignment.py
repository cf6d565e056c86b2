"""Attacks on small real backbones: what they may change, what they reach, and that each image counts for itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from protoquant.core.seeding import torch_generator
from protoquant.evaluation.changes.attack import ITERATIONS, RADIUS, Target, descend, uniform_noise
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.finished import Rows
from protoquant.evaluation.groups.misalignment import COLUMNS, MODES, TABLE, Attacker, measure
from protoquant.evaluation.metrics.misalignment import Region
from protoquant.features.backbone.backbone import Backbone
from protoquant.model.bundle import Bundle
from tests.builders.backbones import load_backbone
from tests.builders.bundles import bundle, write_bundle
from tests.builders.pictures import picture
from tests.evaluation.groups.subjects import subject

pytestmark = pytest.mark.model

HEAD = torch.tensor([[4.0, 2.0, 1.0, 0.5, 0.0], [0.0, 1.0, 0.0, 0.0, 3.0]])


def model(folder: Path, name: str, cells: list[int], number: int = 0) -> tuple[Backbone, Bundle]:
    """A backbone with random weights, and codes that are cells of one picture."""
    backbone = load_backbone(folder, name)
    tokens = backbone.features(backbone.batch([picture(number)])).tokens[0]
    codes = torch.nn.functional.normalize(tokens[cells])
    made = bundle(codes, HEAD, temperature=0.05, grid=backbone.grid, backbone=backbone.spec)
    return backbone, Bundle.open(write_bundle(folder / "bundle", made))


@pytest.fixture(scope="module")
def convnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Bundle]:
    return model(tmp_path_factory.mktemp("convnet"), "test_resnet", [0, 6, 12, 18, 24])


def test_nothing_reaches_a_model_that_sees_only_the_box(tmp_path: Path) -> None:
    """I8: of the whole view this backbone sees one patch of 16 pixels, which the box of its prototype covers."""
    backbone, made = model(tmp_path, "tiny_window", [5, 5, 0, 1, 2])
    rows = Attacker.of(made, backbone, 0).rows("a.png", picture(0), 0)
    assert [row["mode"] for row in rows] == list(MODES)
    for row in rows:
        assert row["activation"] == pytest.approx(1.0)
        assert (row["code"], row["plc"], row["prc"], row["pac"]) == (0, 0.0, 0.0, 0.0)
        assert row["right_before"] == row["right_after"]


def target(backbone: Backbone, box: Region) -> Target:
    image = backbone.batch([picture(3)])
    return Target(image, box.outside(tuple(image.shape[2:])), 2)


def reached(backbone: Backbone, made: Bundle, image: torch.Tensor, code: int) -> float:
    """The largest cosine of the code in an image."""
    return float(made.codebook.similarity(backbone.features(image).tokens)[..., code].max())


@pytest.mark.parametrize("code", range(5))
def test_pgd_lowers_the_activation_where_noise_does_not(convnet: tuple[Backbone, Bundle], code: int) -> None:
    backbone, made = convnet
    aim = replace(target(backbone, Region(20, 30, 90, 160)), code=code)
    noisy = uniform_noise(aim, torch_generator(0, "a", code))
    moved = descend(aim, backbone, made.codebook, torch_generator(0, "b", code))
    before, noise, pgd = (reached(backbone, made, image, code) for image in (aim.image, noisy, moved))
    assert before - pgd > 0.01
    assert before - pgd > 2 * abs(before - noise)


def test_rows_tell_of_the_attack(convnet: tuple[Backbone, Bundle]) -> None:
    """Of this picture part of the view lies outside the region."""
    backbone, made = convnet
    noise, pgd = Attacker.of(made, backbone, 0).rows("1.png", picture(1), 0)
    assert 0 < noise["pac"] < pgd["pac"] / 3
    assert pgd["plc"] > 0


def test_attacks_stay_outside_the_box_within_the_radius_and_valid(convnet: tuple[Backbone, Bundle]) -> None:
    backbone, made = convnet
    aim = target(backbone, Region(20, 30, 90, 160))
    noisy = uniform_noise(aim, torch_generator(0, "a"))
    moved = descend(aim, backbone, made.codebook, torch_generator(0, "b"))
    for changed in (noisy, moved):
        assert torch.equal(changed[..., 30:160, 20:90], aim.image[..., 30:160, 20:90])
        assert float((changed - aim.image).abs().max()) <= RADIUS + 1e-6
        assert float((changed - aim.image).abs()[..., :30, :].mean()) > 0.05
    assert float(moved.abs().max()) <= 1.0 + 1e-6  # mean and deviation are 0.5: pixels are in [-1, 1]
    assert float(noisy[..., :30, :].std()) > float(aim.image[..., :30, :].std())


def test_the_best_iterate_is_kept_and_more_steps_never_hurt(convnet: tuple[Backbone, Bundle]) -> None:
    backbone, made = convnet
    aim = target(backbone, Region(20, 30, 90, 160))

    found = [
        reached(
            backbone, made, descend(aim, backbone, made.codebook, torch_generator(0, "b"), iterations=steps), aim.code
        )
        for steps in (0, 1, 5, ITERATIONS)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0] - 0.01


def test_a_fully_protected_image_stays(convnet: tuple[Backbone, Bundle]) -> None:
    backbone, made = convnet
    aim = target(backbone, Region(0, 0, *backbone.spec.preprocessing.crop[::-1]))
    assert torch.equal(descend(aim, backbone, made.codebook, torch_generator(0, "b"), iterations=2), aim.image)


def test_images_are_attacked_each_for_itself_and_nothing_is_changed(
    convnet: tuple[Backbone, Bundle], tmp_path: Path
) -> None:
    backbone, made = convnet
    before = backbone.state_digest(), made.codebook.codes.clone(), made.head.clone()
    both = measure(
        subject(tmp_path / "a", made, backbone, EvaluateConfig(misalignment_images=3, resamples=100)), "test"
    )
    table = both.tables[TABLE]
    assert table.columns.tolist() == list(COLUMNS)
    assert len(table) == 6
    first = table["image_id"].iloc[0]
    label = 0 if int(first[5:8]) % 3 == 0 else 1
    held = subject(tmp_path / "a", made, backbone, EvaluateConfig())
    alone = Attacker.of(made, backbone, 0).rows(first, held.images.split("test").image(first), label)
    named = ["code", "plc", "prc", "pac"]
    assert table[named].iloc[:2].to_dict("records") == [{name: row[name] for name in named} for row in alone]
    assert both.numbers["pgd"]["pac"]["value"] == pytest.approx(table["pac"][table["mode"] == "pgd"].mean())
    assert both.numbers["skipped"] == 0
    assert backbone.state_digest() == before[0]
    assert torch.equal(made.codebook.codes, before[1])
    assert torch.equal(made.head, before[2])


def test_images_without_an_active_prototype_are_skipped_and_counted(
    convnet: tuple[Backbone, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, made = convnet
    made = Bundle.open(write_bundle(tmp_path / "bundle", made))
    monkeypatch.setattr("protoquant.evaluation.groups.misalignment.SILENT", 1.0)
    held = subject(tmp_path, made, backbone, EvaluateConfig(misalignment_images=2, resamples=100))
    found = measure(held, "test")
    assert found.numbers["skipped"] == 2
    assert found.numbers["pgd"] == {"plc": None, "prc": None, "pac": None, "accuracy_change": None}
    assert found.tables[TABLE].empty


def test_no_image_asked_for_is_said_in_one_line(convnet: tuple[Backbone, Bundle], tmp_path: Path) -> None:
    backbone, made = convnet
    said: list[str] = []
    held = subject(tmp_path, made, backbone, EvaluateConfig(), on_event=lambda event: said.append(event.text))
    assert measure(held, "test").numbers == {}
    assert said == ["evaluate.misalignment_images is 0: misalignment is not measured"]


def test_an_interrupted_run_goes_on_where_it_was(
    convnet: tuple[Backbone, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, made = convnet
    other = Bundle.open(write_bundle(tmp_path / "bundle", made))
    config = EvaluateConfig(misalignment_images=3, resamples=100)
    whole = measure(subject(tmp_path / "whole", made, backbone, config), "test")
    attacked: list[str] = []
    rows = Attacker.rows

    def counted(attacker: Attacker, image_id: str, image: Image.Image, label: int) -> Rows:
        if len(attacked) == 2:
            raise KeyboardInterrupt
        attacked.append(image_id)
        return rows(attacker, image_id, image, label)

    with monkeypatch.context() as patched:
        patched.setattr(Attacker, "rows", counted)
        with pytest.raises(KeyboardInterrupt):
            measure(subject(tmp_path / "whole", other, backbone, config), "test")
        attacked.pop()  # leaves room for one more
        resumed = measure(subject(tmp_path / "whole", other, backbone, config), "test")
    assert len(attacked) == 2
    assert resumed.tables[TABLE].equals(whole.tables[TABLE])
    assert resumed.numbers == whole.numbers
