import pytest

from protoquant.core.errors import ConfigError
from protoquant.features.config import ExtractConfig


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
        ({"weights": "packed"}, "did you mean 'packaged'"),
        ({"input_size": [0, 224]}, "input_size must be two sides of at least 1 pixel"),
        ({"batch": 0}, "extract.batch must be an integer >= 1 and <= 4096, got 0"),
        ({"shards": 512}, "did you mean 'shard'"),
    ],
)
def test_impossible_values_are_refused_in_one_line(values, said):
    with pytest.raises(ConfigError, match=said) as caught:
        ExtractConfig.parse(values, "extract")
    assert "\n" not in str(caught.value)
