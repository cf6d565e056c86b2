"""The catalogue: names by pattern, and what a backbone gives, without weights."""

import pytest

from protoquant.core.errors import ConfigError, UsageError
from protoquant.features.backbone.catalogue import backbone_names, describe


def test_names_are_found_by_part_and_by_pattern() -> None:
    assert "test_vit.r160_in1k" in backbone_names("test_vit")
    assert all(name.startswith("test_") for name in backbone_names("test_*"))
    with pytest.raises(UsageError, match="no backbone with weights fits 'no_such'"):
        backbone_names("no_such")


def test_a_vision_transformer_says_its_prefix_tokens_and_grid() -> None:
    card = describe("test_vit")
    assert (card.prefix_tokens, card.patch_tokens) == (1, card.grid[0] * card.grid[1])
    assert card.weights == ("hub", "file")
    assert card.mib_per_1000_images == pytest.approx(1000 * card.patch_tokens * card.width * 2 / 2**20, abs=0.1)


def test_the_default_backbone_has_packaged_weights_and_their_preprocessing() -> None:
    card = describe("tf_efficientnet_lite0")
    assert card.weights[0] == "packaged"
    assert (card.grid, card.width, card.prefix_tokens, card.classes) == ((7, 7), 1280, 0, 1000)
    assert card.preprocessing.mean == (0.5, 0.5, 0.5)


def test_the_layers_beside_the_last_are_named_with_their_grids() -> None:
    layers = describe("tf_efficientnet_lite0").layers
    assert list(layers.items())[-3:] == [
        ("blocks.4", "14 x 14 of 112"),
        ("blocks.6", "7 x 7 of 320"),
        ("last", "7 x 7 of 1280"),
    ]
    assert set(describe("test_vit").layers.values()) == {"10 x 10 of 64"}


def test_an_unknown_name_has_its_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'test_vit'"):
        describe("test_vitt")


def test_the_grid_of_another_size_or_stride_is_shown() -> None:
    assert (describe("test_resnet", output_stride=8).grid, describe("test_resnet", grid=3).grid) == ((20, 20), (3, 3))
    card = describe("test_vit", patch_stride=8, input_size=64)
    assert (card.grid, card.stride, card.preprocessing.crop) == ((7, 7), 8, (64, 64))
    assert describe("test_vit").stride == 16
    with pytest.raises(ConfigError, match=r"extract.output_stride must be one of 8, 16 .* \(options\)"):
        describe("test_resnet", output_stride=4)
