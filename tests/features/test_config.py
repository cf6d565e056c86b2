import pytest
from ruamel.yaml import YAML

from protoquant.core.errors import ConfigError
from protoquant.features.config import AugmentConfig, ExtractConfig


def test_the_defaults_are_the_packaged_backbone():
    config = ExtractConfig.parse({})
    assert (config.backbone, config.weights, config.shard, config.dtype) == (
        "tf_efficientnet_lite0",
        "packaged",
        512,
        "float16",
    )


def test_a_size_is_read_as_two_sides():
    assert ExtractConfig.parse({"input_size": [224, 320]}).input_size == (224, 320)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"backbone": "resnet50"}, "packaged weights are those of tf_efficientnet_lite0, got backbone 'resnet50'"),
        ({"weights": "file"}, "weights: file needs weights_file"),
        ({"weights_file": "x.pth"}, "weights_file has no effect with weights: packaged"),
        (
            {"weights_entry": "model"},
            "weights_entry has no effect with weights: packaged; set weights to file or remove",
        ),
        (
            {"weights_trained_on": "validation"},
            "weights_trained_on must be one of other, train, train.validation, unkn",
        ),
        ({"weights": "packed"}, "did you mean 'packaged'"),
        ({"input_size": [0, 224]}, "input_size must be two sides of at least 1 pixel"),
        ({"input_size": 0}, "extract.input_size must be an integer >= 1 or a list"),
        ({"grid": [0, 7]}, "grid must be two sides of at least 1 cell"),
        ({"grid": 7, "input_size": 224}, "extract: grid and input_size are two ways to say one thing; remove one of"),
        ({"view": "padded"}, "extract.view must be one of center, squash, pad, got 'padded'; did you mean 'pad'"),
        ({"output_stride": 4}, "extract.output_stride must be one of 8, 16 or empty"),
        ({"patch_stride": 0}, "extract.patch_stride must be an integer >= 1 or empty"),
        ({"batch": 0}, "extract.batch must be an integer >= 1 and <= 4096, got 0"),
        ({"shards": 512}, "did you mean 'shard'"),
        ({"views": 100}, "extract.views must be an integer >= 0 and <= 99, got 100"),
        ({"views": 2}, r"views: 2 needs augment; the usual is augment: {area: \[0.5, 1.0\], ratio: "),
        ({"augment": {}}, "augment has no effect with views: 0; set views to 1 or more or remove it"),
        ({"views": 1, "augment": {"area": [0, 1]}}, r"area must be two shares in \[0.01, 1\], the smaller first, got"),
        ({"views": 1, "augment": {"ratio": [2, 1]}}, r"ratio must be two numbers in \[0.1, 10\], the smaller first"),
        ({"views": 1, "augment": {"flipp": 1}}, "unknown key 'extract.augment.flipp'; did you mean 'flip'"),
    ],
)
def test_impossible_values_are_refused_in_one_line(values, said):
    with pytest.raises(ConfigError, match=said) as caught:
        ExtractConfig.parse(values, "extract")
    assert "\n" not in str(caught.value)


def test_the_advice_for_views_is_a_section_that_works():
    with pytest.raises(ConfigError) as caught:
        ExtractConfig.parse({"views": 2})
    advised = YAML(typ="safe").load(str(caught.value).partition("the usual is ")[2].partition(" (params.yaml)")[0])
    config = ExtractConfig.parse({"views": 2} | advised)
    assert config.augment == AugmentConfig()


def test_a_number_is_the_side_of_a_square():
    assert ExtractConfig.parse({"input_size": 288}).input_size == 288
    assert ExtractConfig.parse({"grid": [7, 14]}).grid == (7, 14)


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ({}, "other"),
        ({"weights": "hub"}, "other"),
        ({"weights_trained_on": "train"}, "train"),
        ({"weights": "file", "weights_file": "x.pth"}, "unknown"),
        ({"weights": "file", "weights_file": "x.pth", "weights_trained_on": "other"}, "other"),
    ],
)
def test_what_the_weights_have_seen_is_unknown_of_a_file_that_nobody_speaks_of(values, known):
    assert ExtractConfig.parse(values).trained_on == known
