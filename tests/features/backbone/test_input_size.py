"""The size of the input by number, by grid and by stride; what no model can do is refused before weights are read."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from protoquant.core.errors import ArtifactError, ConfigError
from protoquant.features.backbone import backbone as module
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.input_size import asked_size
from protoquant.features.backbone.spec import BackboneSpec
from protoquant.features.config import ExtractConfig
from tests.builders.backbones import load_backbone, write_weights
from tests.builders.specs import spec


def config(name="test_resnet", **values):
    return ExtractConfig(backbone=name, weights="hub", **values)


@pytest.mark.parametrize(
    ("name", "values", "size"),
    [
        ("test_resnet", {}, None),
        ("test_resnet", {"output_stride": 16}, None),
        ("test_resnet", {"input_size": 96}, (96, 96)),
        ("test_resnet", {"input_size": (64, 96)}, (64, 96)),
        ("test_resnet", {"grid": 3}, (96, 96)),  # cells of 32 pixels
        ("test_resnet", {"grid": (2, 5), "output_stride": 8}, (16, 40)),
        ("test_vit", {"grid": (3, 4)}, (48, 64)),  # patches of 16 pixels
        ("test_vit", {"grid": 5, "patch_stride": 8}, (48, 48)),  # 4 strides of 8 and a patch of 16
        ("test_vit", {"input_size": (48, 56), "patch_stride": 8}, (48, 56)),
        ("efficientnet_b1", {"input_size": 256}, (256, 256)),  # its own, although 240 would be no multiple
        ("tf_efficientnet_b3", {"input_size": 300}, (300, 300)),  # its own, although no multiple of 32
    ],
)
def test_sizes_worked_by_hand(name, values, size):
    assert asked_size(config(name, **values)) == size


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        (
            "test_resnet",
            {"input_size": (96, 100)},
            "each side must be a multiple of 32 pixels for the cells of test_resnet, got 96 x 100; take 96 x 96",
        ),
        ("test_resnet", {"input_size": 8}, "got 8 x 8; take 32 x 32"),
        ("test_vit", {"input_size": 50, "patch_stride": 8}, "must be 16 pixels and a multiple of 8 .* take 48 x 48"),
        ("test_vit", {"output_stride": 16}, "output_stride: test_vit cannot keep its last map at 16 pixels a cell"),
        ("densenet121", {"output_stride": 8}, "output_stride: densenet121 cannot keep its last map at 8 pixels a cell"),
        ("dla34", {"output_stride": 8}, "output_stride: dla34 cannot keep its last map at 8 pixels a cell"),
        ("test_resnet", {"patch_stride": 8}, "patch_stride: test_resnet is no plain vision transformer"),
        ("tiny_swin", {"patch_stride": 2}, "patch_stride: tiny_swin is no plain vision transformer"),
        (
            "test_vit",
            {"patch_stride": 6},
            "must divide the patch of test_vit, 16 pixels, and be below it, got 6; take one",
        ),
        ("test_vit", {"patch_stride": 16}, r"got 16; take one of 1, 2, 4, 8$"),
    ],
)
def test_what_a_model_cannot_do_is_one_line_before_any_weights(monkeypatch, name, values, said):
    def no_weights(*_):
        raise AssertionError("weights are read")

    monkeypatch.setattr(module, "build_model", no_weights)
    with pytest.raises(ConfigError, match=said) as caught:
        Backbone.load(config(name, **values), "cpu")
    assert "\n" not in str(caught.value)


def test_a_map_with_other_cells_than_its_stride_promises_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("protoquant.features.backbone.input_size.stride_of", lambda _: 64)
    with pytest.raises(ConfigError, match="grid: test_resnet gives 4 x 4 cells where its stride promises 2 x 2"):
        load_backbone(tmp_path, "test_resnet", grid=2)


def test_the_grid_asked_for_is_that_of_the_last_map_whatever_other_layers_there_are(tmp_path):
    backbone = load_backbone(tmp_path, "test_resnet", grid=3, layers=("layer3", "last"))
    assert (backbone.layout.grid, backbone.grid) == ((3, 3), (6, 6))
    assert Backbone.untrained(config("test_resnet", grid=3, layers=("layer3", "last")), "cpu").grid == (6, 6)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("stride", [8, 16])
def test_dilation_gives_a_finer_grid_of_the_same_input(tmp_path, name, stride):
    backbone = load_backbone(tmp_path, name, output_stride=stride)
    plain = load_backbone(tmp_path, name)
    assert backbone.grid == (160 // stride, 160 // stride)
    assert (backbone.spec.output_stride, backbone.spec.weights) == (stride, plain.spec.weights)
    assert Backbone.untrained(config(name, output_stride=stride), "cpu").grid == backbone.grid
    again = Backbone.load(BackboneSpec.from_dict(backbone.spec.to_dict()), "cpu")
    assert (again.spec, again.grid) == (backbone.spec, backbone.grid)


@pytest.mark.parametrize("name", ["test_vit", "tiny_reg_vit"])
def test_overlapping_patches_are_those_of_shifted_images(tmp_path, name):
    """Oracle: without positions and blocks, the patch at 8 * i is the plain patch of the image moved by 8 pixels."""
    backbone, plain = (load_backbone(tmp_path, name, patch_stride=stride) for stride in (8, None))
    rows, cols = plain.grid
    assert backbone.grid == (2 * rows - 1, 2 * cols - 1)
    assert backbone.spec.weights == plain.spec.weights
    x = torch.randn((1, 3, *plain.spec.preprocessing.crop), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = backbone.model.patch_embed(x).reshape(*backbone.grid, -1)
        own = plain.model.patch_embed(x).reshape(rows, cols, -1)
        moved = plain.model.patch_embed(x.roll((-8, -8), (2, 3))).reshape(rows, cols, -1)
    torch.testing.assert_close(found[::2, ::2], own, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1::2, 1::2], moved[:-1, :-1], atol=1e-5, rtol=1e-5)


def test_patches_at_the_former_places_keep_their_positions(tmp_path):
    backbone, plain = (load_backbone(tmp_path, "test_vit", patch_stride=stride) for stride in (8, None))
    new, old = backbone.model.pos_embed, plain.model.pos_embed
    torch.testing.assert_close(new[:, :1], old[:, :1])
    torch.testing.assert_close(new[:, 1:].reshape(19, 19, -1)[::2, ::2], old[:, 1:].reshape(10, 10, -1))


def test_boxes_of_overlapping_patches_are_off_by_less_than_half_of_what_they_overlap(tmp_path):
    backbone = load_backbone(tmp_path, "test_vit", patch_stride=8)
    view, (_, cols) = backbone.spec.preprocessing.whole("squash"), backbone.grid
    boxes = [view.cell_box(0, col, backbone.grid, *reversed(view.crop)) for col in range(cols)]
    off = [(left + right) / 2 - (8 * col + 8) for col, (left, _, right, _) in enumerate(boxes)]
    assert max(map(abs, off)) < (16 - 8) / 2
    assert off[cols // 2] == pytest.approx(0.0)


def test_a_spec_with_a_patch_stride_builds_the_same_tokens_again(tmp_path):
    backbone = load_backbone(tmp_path, "tiny_reg_vit", patch_stride=4, grid=(3, 6))
    assert (backbone.grid, backbone.spec.preprocessing.crop) == ((3, 6), (24, 36))
    again = Backbone.load(BackboneSpec.from_dict(backbone.spec.to_dict()), "cpu")
    x = torch.randn((2, 3, 24, 36), generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.features(x).tokens, backbone.features(x).tokens)
    with torch.inference_mode():
        maps = backbone.model.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)
    torch.testing.assert_close(maps[-1].flatten(2).mT, backbone.features(x).tokens)


def test_weights_from_a_file_fit_an_input_of_another_size_as_those_of_the_hub_do(tmp_path):
    """Oracle: timm's own set_input_size."""
    backbone = load_backbone(tmp_path, "test_vit", input_size=(64, 96))
    assert backbone.grid == (4, 6)
    own = timm.create_model("test_vit")
    own.load_state_dict(load_file(tmp_path / "test_vit.safetensors"))
    own.set_input_size((64, 96))
    torch.testing.assert_close(backbone.model.pos_embed.data, own.pos_embed.data)


def test_weights_whose_positions_lie_on_no_square_are_refused_for_another_size(tmp_path):
    file = write_weights(tmp_path, "test_vit")
    state = load_file(file)
    save_file(state | {"pos_embed": state["pos_embed"][:, :-1].clone()}, file)
    wrong = ExtractConfig(backbone="test_vit", weights="file", weights_file=str(file), input_size=64)
    with pytest.raises(ArtifactError, match=r"1 of another shape \(pos_embed \(1, 100, 64\), expected \(1, 17, 64\)\)"):
        Backbone.load(wrong, "cpu")


def test_a_spec_names_strides_only_where_they_are_set_and_no_other_keys():
    plain = spec()
    assert list(plain.to_dict()) == ["name", "weights", "preprocessing"]
    assert BackboneSpec.from_dict(plain.to_dict()) == plain
    strided = replace(plain, output_stride=16)
    assert strided.to_dict() == plain.to_dict() | {"output_stride": 16}
    assert BackboneSpec.from_dict(strided.to_dict()) == strided
    with pytest.raises(ArtifactError, match=r"backbone holds other keys than this version knows: .*'zoom'"):
        BackboneSpec.from_dict(plain.to_dict() | {"zoom": 2})
