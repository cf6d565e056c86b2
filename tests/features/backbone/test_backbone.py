import dataclasses

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from protoquant.core.errors import ArtifactError, ConfigError, ShapeError, UsageError
from protoquant.features.backbone import build
from protoquant.features.backbone.backbone import Backbone, FeatureMap
from protoquant.features.config import ExtractConfig
from tests.builders.backbones import CASES, NAMES, RESNET

REG_VIT = CASES[5]


@pytest.fixture(params=CASES, ids=NAMES)
def case(request):
    return request.param


def images(backbone, n=3):
    return torch.randn((n, 3, *backbone.spec.preprocessing.crop), generator=torch.Generator().manual_seed(1))


def test_every_kind_of_model_leads_to_its_own_logits(case, tmp_path):
    backbone = Backbone.load(case.config(tmp_path), "cpu")
    assert (backbone.layout.axes, backbone.grid, backbone.d, backbone.prefix) == (
        case.axes,
        case.grid,
        case.d,
        case.prefix,
    )
    x = images(backbone)
    found = backbone.features(x)
    rows, cols = case.grid
    assert found.tokens.shape == (3, rows * cols, case.d)
    assert (0 if found.prefix is None else found.prefix.shape[1]) == case.prefix
    with torch.inference_mode():
        expected = backbone.model(x)
    assert torch.allclose(backbone.logits(found), expected, atol=1e-5)
    assert backbone.classes == expected.shape[1]


def test_tokens_are_the_models_own_spatial_map_row_by_row(case, tmp_path):
    """timm's forward_intermediates is the oracle: it knows the layout of each family."""
    backbone = Backbone.load(case.config(tmp_path), "cpu")
    x = images(backbone)
    norm = {"norm": True} if case.name != "test_resnet" else {}
    with torch.inference_mode():
        maps = backbone.model.forward_intermediates(x, indices=1, output_fmt="NCHW", intermediates_only=True, **norm)
    rows, cols = case.grid
    tokens = backbone.features(x).tokens
    for row, col in [(0, 0), (0, cols - 1), (rows - 1, 0), (rows // 2, cols // 2)]:
        assert torch.allclose(tokens[:, row * cols + col], maps[-1][:, :, row, col], atol=1e-5)


def test_the_default_backbone():
    backbone = Backbone.load(ExtractConfig(), "cpu")
    assert (backbone.grid, backbone.d, backbone.prefix, backbone.classes) == ((7, 7), 1280, 0, 1000)
    preprocessing = backbone.spec.preprocessing
    assert (preprocessing.resize, preprocessing.crop, preprocessing.mode) == ((256, 256), (224, 224), "center")
    assert (preprocessing.interpolation, preprocessing.mean) == ("bicubic", (0.5, 0.5, 0.5))
    assert backbone.spec.weights.digest == "7163131ef1831f40655602ff946de5d5b1d05136d07e9e244e365f32e8d4076b"


def test_a_spec_builds_the_same_backbone_again_and_refuses_other_weights(case, tmp_path):
    first = Backbone.load(case.config(tmp_path), "cpu")
    again = Backbone.load(first.spec, "cpu")
    assert (again.spec, again.state_digest()) == (first.spec, first.state_digest())
    other = dataclasses.replace(first.spec, weights=dataclasses.replace(first.spec.weights, digest="0" * 64))
    with pytest.raises(ArtifactError, match="are not those that made the features: expected digest 000000000000"):
        Backbone.load(other, "cpu")


def test_a_spec_takes_its_weights_from_another_place(tmp_path):
    spec = Backbone.load(RESNET.config(tmp_path), "cpu").spec
    moved = tmp_path / "moved.safetensors"
    (tmp_path / "test_resnet.safetensors").rename(moved)
    assert Backbone.load(spec, "cpu", moved).spec == spec
    with pytest.raises(UsageError, match=r"there is no file .*test_resnet\.safetensors"):
        Backbone.load(spec, "cpu")


def test_the_model_stays_frozen_whatever_asks_for_training(tmp_path):
    backbone = Backbone.load(RESNET.config(tmp_path), "cpu")
    before = backbone.state_digest()
    torch.nn.Sequential(backbone.model).train()
    backbone.features(images(backbone))
    assert not any(module.training for module in backbone.model.modules())
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.state_digest() == before


def test_pixels_become_the_normalised_input(tmp_path):
    backbone = Backbone.load(RESNET.config(tmp_path), "cpu")
    image = Image.new("RGB", (300, 200), (255, 0, 51))
    pixels = backbone.transform(image)
    assert (tuple(pixels.shape), pixels.dtype) == ((64, 96, 3), torch.uint8)
    batch = backbone.batch([image, image])
    assert tuple(batch.shape) == (2, 3, 64, 96)
    assert batch[1, :, 10, 10].tolist() == pytest.approx([1.0, -1.0, -0.6])


def test_wrong_shapes_are_named(tmp_path):
    backbone = Backbone.load(REG_VIT.config(tmp_path), "cpu")
    with pytest.raises(ShapeError, match=r"takes images \(3, 64, 64\), got \(3, 32, 32\)"):
        backbone.features(torch.zeros(1, 3, 32, 32))
    found = backbone.features(images(backbone))
    for wrong in (
        FeatureMap(found.tokens, None, found.grid),
        FeatureMap(found.tokens[:, 1:], found.prefix, found.grid),
        FeatureMap(found.tokens, found.prefix, (2, 8)),
    ):
        with pytest.raises(ShapeError, match=r"needs tokens \(n, 16, 32\) and 5 prefix tokens"):
            backbone.logits(wrong)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet5O", r"timm has no model 'resnet5O'; did you mean 'resnet50"),
        ("resnet18.nonsense", r"resnet18 has no weights tagged 'nonsense'; known: resnet18\.\w+"),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest_name(name, said):
    with pytest.raises(ConfigError, match=said):
        Backbone.load(ExtractConfig(backbone=name, weights="hub"), "cpu")


def test_without_a_network_the_hub_is_one_line(monkeypatch):
    def offline(name, *, pretrained, **_):
        assert pretrained
        raise FileNotFoundError("An error happened while trying to locate the file on the Hub.\nMore.")

    monkeypatch.setattr(build.timm, "create_model", offline)
    with pytest.raises(UsageError, match=r"^extract\.weights: hub could not give test_resnet .*; go online, or take"):
        Backbone.load(ExtractConfig(backbone="test_resnet", weights="hub"), "cpu")


def test_a_size_the_model_cannot_take_is_refused(tmp_path):
    config = REG_VIT.config(tmp_path, input_size=(50, 50))
    with pytest.raises((ConfigError, ArtifactError)) as caught:
        Backbone.load(config, "cpu")
    assert "\n" not in str(caught.value)


def test_tokens_that_miss_the_logits_are_refused(tmp_path, monkeypatch):
    config = RESNET.config(tmp_path)
    create = build.timm.create_model

    def with_hidden_step(name, **options):
        model = create(name, **options)
        model.forward = lambda x: model.forward_head(model.forward_features(x)) + 1
        return model

    monkeypatch.setattr(build.timm, "create_model", with_hidden_step)
    with pytest.raises(ConfigError, match="do not lead to its own logits"):
        Backbone.load(config, "cpu")


def test_weights_of_another_model_are_refused(tmp_path):
    config = RESNET.config(tmp_path)
    tensors = load_file(config.weights_file)
    del tensors["fc.bias"]
    save_file(tensors, config.weights_file)
    with pytest.raises(ArtifactError, match=r"1 missing \(fc\.bias\)"):
        Backbone.load(config, "cpu")
