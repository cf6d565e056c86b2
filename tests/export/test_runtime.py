import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from protoquant.core.artifacts import open_artifact, read_json, write_json, writing
from protoquant.core.errors import ArtifactError, DataError, UsageError
from protoquant.export.card import open_card
from protoquant.export.runtime import OnnxModel
from tests.builders.bundles import CLASSES
from tests.builders.pictures import picture, pixels
from tests.export.conftest import Exported

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def opened(exported: Exported) -> OnnxModel:
    return OnnxModel.open(exported.folder)


def test_answers_are_those_of_the_model_in_order(exported: Exported, opened: OnnxModel, tmp_path: Path) -> None:
    picture(1, 1300, 900).save(tmp_path / "large.jpg", quality=95)
    images = [
        pixels(0),
        tmp_path / "large.jpg",
        picture(2, 90, 300),
        pixels(3),
        str(tmp_path / "large.jpg"),
    ]
    for mine, theirs in zip(opened.predict(images), exported.model.predict(images), strict=True):
        assert mine.label == theirs.label
        assert mine.class_name == theirs.class_name == CLASSES[mine.label]
        assert mine.probability == pytest.approx(theirs.probability, abs=1e-5)
        assert mine.logits == pytest.approx(np.array(theirs.logits), abs=1e-4)
        assert not mine.abstains
    assert opened.predict([]) == []


def test_regions_are_those_of_the_explanation(exported: Exported, opened: OnnxModel) -> None:
    for image in (pixels(0), pixels(3, 90, 60)):
        (answer,) = opened.predict([image], maps=True)
        for part in exported.model.explain(image).contributions:
            place = opened.card.prototypes.index(part.code)
            assert tuple(answer.cells[place]) == part.cell
            assert answer.region(place) == part.region


def test_a_region_needs_maps(opened: OnnxModel) -> None:
    (answer,) = opened.predict([pixels(0)])
    assert answer.maps is None
    with pytest.raises(UsageError, match=r"write predict\(images, maps=True\)"):
        answer.region(0)


def test_a_weak_answer_abstains(exported: Exported, opened: OnnxModel) -> None:
    (answer,) = opened.predict([pixels(0)])
    top = float(answer.logits.max())
    for below, abstains in ((top + 0.1, True), (top - 0.1, False)):
        model = OnnxModel(opened.card.model_copy(update={"abstain_below": below}), opened.run)
        assert model.predict([pixels(0)])[0].abstains is abstains


def test_many_images_of_one_size_run_in_parts(opened: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [pixels(seed) for seed in range(5)]
    together = opened.predict(images)
    monkeypatch.setattr("protoquant.export.runtime.BATCH", 2)
    for one, other in zip(together, opened.predict(images), strict=True):
        assert one.logits == pytest.approx(other.logits, abs=1e-5)


def test_wrong_images_are_named(opened: OnnxModel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(DataError, match=r"notes\.txt is not an image"):
        opened.predict([tmp_path / "notes.txt"])
    with pytest.raises(DataError, match=r"image 1: expected a uint8 array \(height, width, 3\), got float64 \(4, 4\)"):
        opened.predict([pixels(0), np.zeros((4, 4))])
    with pytest.raises(DataError, match="image 0: expected a path, a PIL image or a uint8 array, got int"):
        opened.predict([3])
    with pytest.raises(UsageError, match=r"write predict\(\[image\]\)"):
        opened.predict(pixels(0))


def test_damaged_missing_and_incomplete_folders_are_refused(exported: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    shutil.copytree(exported.folder, folder)
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.onnx is damaged"):
        OnnxModel.open(folder)
    card, manifest = read_json(exported.folder / "card.json"), open_artifact(exported.folder, "export")
    del card["outputs"]["maps"]
    with writing(tmp_path / "earlier", "export", manifest.inputs) as earlier:
        shutil.copy(exported.folder / "model.onnx", earlier)
        write_json(earlier / "card.json", card)
    with pytest.raises(ArtifactError, match=r"model\.onnx has no output maps; run protoquant export again"):
        OnnxModel.open(tmp_path / "earlier")
    with pytest.raises(ArtifactError, match="no export at"):
        OnnxModel.open(tmp_path / "nowhere")


@pytest.mark.process
def test_torch_is_not_imported(exported: Exported, tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    program = (
        "import sys\n"
        "from protoquant.export.runtime import OnnxModel\n"
        f"print(OnnxModel.open({str(exported.folder)!r}).predict([{str(tmp_path / 'a.png')!r}])[0].class_name)\n"
        "print([name for name in ('torch', 'timm', 'pandas', 'onnx') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    name, modules = done.stdout.splitlines()
    assert name in open_card(exported.folder).classes
    assert modules == "[]"
