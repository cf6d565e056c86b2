"""Checkpoints of training scripts as backbones: other classes, other sizes, other models."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from protoquant.core.errors import ArtifactError, ConfigError
from protoquant.core.events import MessageEvent
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.fitting import classes_in, classifiers, fitted
from protoquant.features.backbone.spec import BackboneSpec, WeightsSpec
from protoquant.features.backbone.weights import state_digest
from protoquant.features.config import ExtractConfig
from tests.builders.backbones import load_backbone, write_weights
from tests.builders.checkpoints import state, trained


def config(file, name="test_resnet", **values):
    return ExtractConfig(backbone=name, weights="file", weights_file=str(file), **values)


def load(file, name="test_resnet", **values):
    """The backbone, and what was said on the way."""
    events = []
    backbone = Backbone.load(config(file, name, **values), "cpu", on_event=events.append)
    assert all(isinstance(event, MessageEvent) for event in events)
    return backbone, [event.text for event in events]


def tokens(backbone):
    images = torch.randn((2, 3, *backbone.spec.preprocessing.crop), generator=torch.Generator().manual_seed(0))
    return backbone.features(images).tokens


def changed(file, into, change):
    tensors = change(load_file(file))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, into)
    return into


def test_a_checkpoint_of_timms_training_script_is_a_backbone_with_its_own_classes(tmp_path):
    path = trained(tmp_path, num_classes=7)
    backbone, said = load(path)
    assert backbone.classes == 7
    chosen = "holds state_dict_ema, state_dict; state_dict_ema is taken"
    assert said == [
        f"extract: last.pth.tar {chosen}; set extract.weights_entry for another",
        "extract: last.pth.tar holds a classifier of 7 classes, which the features do not need",
    ]
    held = torch.load(path, weights_only=False)
    assert state_digest(backbone.model.state_dict().items()) == state_digest(held["state_dict_ema"].items())
    own = timm.create_model("test_resnet", num_classes=7).eval()
    own.load_state_dict(held["state_dict"])
    raw, said = load(path, weights_entry="state_dict")
    assert len(said) == 1
    x = torch.randn((2, 3, *raw.spec.preprocessing.crop), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(raw.logits(raw.features(x)), own(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_what_makes_tokens_decides_their_digest_and_the_classifier_does_not(tmp_path, name):
    file = write_weights(tmp_path, name)
    heads = classifiers(timm.models.get_pretrained_cfg(name).to_dict())
    assert heads
    bare = changed(file, tmp_path / "bare.safetensors", lambda held: without(held, heads))
    few = changed(file, tmp_path / "few.safetensors", lambda held: {k: cut(k, v, heads) for k, v in held.items()})
    whole, said = load(file, name)
    assert said == []
    of_bare, said = load(bare, name)
    assert said == ["extract: bare.safetensors holds no classifier, which the features do not need"]
    of_few, _ = load(few, name)
    assert of_few.classes == 5
    assert whole.token_digest == of_bare.token_digest == of_few.token_digest
    assert len({each.spec.weights.digest for each in (whole, of_bare, of_few)}) == 3
    assert torch.equal(tokens(whole), tokens(of_bare))
    other = changed(file, tmp_path / "other.safetensors", lambda held: {k: bent(v) for k, v in held.items()})
    assert load(other, name)[0].token_digest != whole.token_digest


def without(held, heads):
    return {name: tensor for name, tensor in held.items() if not name.startswith(tuple(f"{one}." for one in heads))}


def cut(name, tensor, heads):
    return tensor[:5] if name.startswith(tuple(f"{one}." for one in heads)) else tensor


def bent(tensor):
    return tensor * 1.01 if tensor.is_floating_point() else tensor


def test_optimizer_arguments_means_and_names_in_the_file_do_not_change_a_digest(tmp_path):
    path = trained(tmp_path)
    held = torch.load(path, weights_only=False)
    raw = held["state_dict"]
    torch.save(raw, tmp_path / "plain.pth")
    torch.save({"model": {f"module._orig_mod.{k}": v for k, v in raw.items()}, "epoch": 9}, tmp_path / "other.pth")
    digests = {
        load(file, weights_entry=entry)[0].spec.weights.digest
        for file, entry in (
            (path, "state_dict"), (tmp_path / "plain.pth", None), (tmp_path / "other.pth", None),
        )
    }  # fmt: skip
    assert digests == {state_digest(raw.items())}


def test_positions_are_resampled_where_the_file_has_another_size(tmp_path):
    """As a checkpoint of a fine-tuning at 96 pixels, for a model whose own size is 160; oracle: timm's own resizing."""
    path = trained(tmp_path, "test_vit", ema=False, img_size=96)
    held = torch.load(path, weights_only=False)["state_dict"]
    assert held["pos_embed"].shape == (1, 37, 64)
    backbone, said = load(path, "test_vit")
    assert (backbone.grid, backbone.spec.preprocessing.crop) == ((10, 10), (160, 160))
    sentence = "extract: positions are resampled from (1, 37, 64) to {} for this input size: pos_embed"
    assert said == [sentence.format("(1, 101, 64)")]
    own = timm.create_model("test_vit", img_size=96)
    own.load_state_dict(held)
    own.set_input_size(160)
    torch.testing.assert_close(backbone.model.pos_embed.data, own.pos_embed.data)
    same, said = load(path, "test_vit", input_size=96)
    assert (same.grid, said) == ((6, 6), [])
    assert torch.equal(same.model.pos_embed, held["pos_embed"])
    assert load(path, "test_vit", input_size=64)[1] == [sentence.format("(1, 17, 64)")]


def test_a_dinov2_of_another_size_in_small(tmp_path):
    """No classifier, layer scale and a patch of 14, as in vit_small_patch14_dinov2, at other sizes of the input."""
    shape = {"patch_size": 14, "embed_dim": 32, "depth": 1, "num_heads": 2, "init_values": 1e-5}
    old, new = (timm.models.VisionTransformer(img_size=size, num_classes=0, **shape) for size in (70, 42))
    after, said = fitted(state(old), new)
    assert said == ["positions are resampled from (1, 26, 32) to (1, 10, 32) for this input size: pos_embed"]
    new.load_state_dict(after, strict=True)
    assert torch.equal(new.pos_embed[:, 0], old.pos_embed[:, 0])


def test_positions_of_other_families_are_resampled_by_timm(tmp_path):
    """A Swin transformer at another window has tables of relative positions of another size."""
    shape = {"patch_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "num_classes": 3}
    old, new = (timm.models.SwinTransformer(img_size=32, window_size=window, **shape) for window in (4, 2))
    held = state(old)
    after, (said,) = fitted(held, new)
    assert said.startswith(
        "positions are resampled from (49, 2) to (9, 2) for this input size: layers.0.blocks.0.attn."
    )
    new.load_state_dict(dict(after), strict=True)
    kept = [name for name in held if "pos" not in name]
    assert all(torch.equal(after[name], held[name]) for name in kept)


def test_weights_of_another_patch_are_refused_and_never_resampled(tmp_path):
    path = trained(tmp_path, "test_vit", ema=False, patch_size=8, img_size=80)
    said = r": 1 of another shape \(patch_embed\.proj\.weight \(64, 3, 8, 8\), expected \(64, 3, 16, 16\)\)"
    with pytest.raises(ArtifactError, match=said):
        load(path, "test_vit")


def test_weights_of_another_model_are_listed_by_name_on_both_sides(tmp_path):
    path = trained(tmp_path, "test_convnext", ema=False)
    with pytest.raises(ArtifactError) as caught:
        load(path)
    text = str(caught.value)
    assert "last.pth.tar does not fit the backbone: " in text
    assert text.count("missing (conv1.0.weight, ") == text.count("unknown (stem.0.weight, ") == 1
    assert text.endswith(", ...); check extract.backbone")
    assert "\n" not in text


def test_a_classifier_without_its_weight_is_refused(tmp_path):
    held = load_file(write_weights(tmp_path, "test_resnet"))
    del held["fc.weight"]
    assert classes_in(held, "test_resnet") is None
    save_file(held, tmp_path / "part.safetensors")
    with pytest.raises(ArtifactError, match=r"1 missing \(fc\.weight\)"):
        load(tmp_path / "part.safetensors")


def test_a_model_for_which_timm_states_no_classifier_keeps_its_own(tmp_path):
    assert classes_in({}, "tiny_reg_vit") is None
    backbone = load_backbone(tmp_path, "tiny_reg_vit")
    assert backbone.token_digest == backbone.spec.weights.digest


def test_a_spec_takes_the_same_entry_again_and_keeps_what_was_stated(tmp_path):
    path = trained(tmp_path, num_classes=3)
    backbone, _ = load(path, weights_entry="state_dict", weights_trained_on="train")
    spec = BackboneSpec.from_dict(json.loads(json.dumps(backbone.spec.to_dict())))
    assert spec == backbone.spec
    assert spec.to_dict()["weights"].keys() == {"source", "digest", "file", "entry", "trained_on"}
    again = Backbone.load(spec, "cpu")
    assert torch.equal(tokens(again), tokens(backbone))
    moved = path.rename(tmp_path / "moved.pth")
    assert Backbone.load(spec, "cpu", moved).spec == spec


def test_a_spec_of_before_is_read_and_one_that_says_nothing_is_written_as_then():
    old = {"source": "file", "digest": "0" * 64, "file": "a.pth"}
    assert WeightsSpec(**old).to_dict() == old
    assert WeightsSpec("packaged", "0" * 64).to_dict() == {"source": "packaged", "digest": "0" * 64}


def test_an_entry_that_is_not_in_the_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"^extract\.weights_entry: .* 'ema'; it has state_dict_ema, state_dict$"):
        load(trained(tmp_path), weights_entry="ema")
