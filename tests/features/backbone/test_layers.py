"""Several layers of a backbone: the tokens of each, their order, and layers that it does not have."""

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from protoquant.codebook.space.layer_space import fit_layer_space
from protoquant.core.errors import ConfigError
from protoquant.features.backbone.backbone import Backbone, FeatureMap
from protoquant.features.backbone.layers import LayerShape, known_layers, layer_positions, layer_shapes
from protoquant.features.backbone.layout import Layout
from protoquant.features.config import ExtractConfig
from protoquant.features.tokens import LayeredTokens, maps_of
from tests.builders.backbones import CASES, NAMES, RESNET, Case


def hooked(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """What a module of the model gives, by a hook on it."""
    held: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _, __, out: held.append(out))
    model(images)
    handle.remove()
    return held[-1]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@torch.inference_mode()
def test_each_layer_is_what_its_module_gives(case: Case, tmp_path) -> None:
    plain = Backbone.load(case.config(tmp_path), "cpu")
    known = list(known_layers(plain.model))
    chosen = known[-2] if len(known) > 1 else known[-1]
    both = Backbone.load(case.config(tmp_path, layers=(chosen, "last")), "cpu")
    images = torch.randn((2, 3, *plain.spec.preprocessing.crop), generator=torch.Generator().manual_seed(1))
    tokens = both.features(images).tokens
    assert isinstance(tokens, LayeredTokens)
    assert tokens.names == (chosen, "last")
    assert torch.equal(tokens.maps[1], plain.features(images).tokens)
    raw, (rows, cols), d = hooked(both.model, chosen, images), both.shapes[0].grid, both.shapes[0].d
    if raw.ndim == 3:
        raw = raw[:, both.prefix :]
    elif case.axes == "NCHW":
        raw = raw.permute(0, 2, 3, 1)
    assert torch.allclose(tokens.maps[0], raw.reshape(2, rows * cols, d), atol=1e-6)
    assert (both.grid, both.d) == ((rows, cols), d + plain.d)
    assert torch.allclose(both.logits(both.features(images)), plain.model(images), atol=1e-5)
    swapped = LayeredTokens((tokens.maps[0] + 1, tokens.maps[1]), tokens.grids, tokens.names)
    logits = both.logits(FeatureMap(swapped, both.features(images).prefix, both.grid))
    assert torch.equal(logits, both.logits(both.features(images)))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            ("layer5", "last"),
            "extract.layers: test_resnet has no 'layer5', it has .*layer3 .stride 16.*and last",
        ),
        (("layer3", "layer2", "last"), "extract.layers must be in the order of the network, .'layer2', 'layer3'"),
    ],
)
def test_layers_that_cannot_be_read_are_one_line(layers, message, tmp_path) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Backbone.load(RESNET.config(tmp_path, layers=layers), "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layers", [["layer3"], ["last", "last"], ["last", "layer3"]])
def test_a_list_that_does_not_end_with_the_last_layer_is_refused(layers) -> None:
    with pytest.raises(ConfigError, match="extract: layers must each be named once and end with last, got"):
        ExtractConfig.parse({"layers": layers}, "extract", "params.yaml")


def test_a_grid_that_divides_no_other_is_refused() -> None:
    maps = [torch.zeros(1, 4, 15, 15)]
    with pytest.raises(ConfigError, match=r"extract\.layers must share a grid: last of net has 8 x 8 cells, which do"):
        layer_shapes("net", ("stage", "last"), maps, Layout("NCHW", (8, 8), 6, 0))
    shapes = layer_shapes("net", ("stage", "last"), maps, Layout("NCHW", (5, 5), 6, 0))
    assert shapes == (LayerShape("stage", (15, 15), 4), LayerShape("last", (5, 5), 6))
    assert LayerShape.from_dict(shapes[0].to_dict()) == shapes[0]


def test_a_model_that_gives_no_other_layer_says_so() -> None:
    with pytest.raises(ConfigError, match="net has no 'stage', it has no other layer and last"):
        layer_positions(nn.Identity(), "net", ("stage", "last"))


@pytest.mark.parametrize("view", ["center", "squash", "pad"])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
@torch.inference_mode()
def test_a_square_changes_most_the_cell_of_each_layer_whose_box_holds_it(case: Case, view: str, tmp_path) -> None:
    plain = Backbone.load(case.config(tmp_path), "cpu")
    known = list(known_layers(plain.model))
    layers = (known[-2] if len(known) > 1 else known[-1], "last")
    backbone = Backbone.load(case.config(tmp_path, layers=layers, view=view), "cpu")
    scale, (width, height) = backbone.spec.preprocessing, (400, 300)
    blank = Image.new("RGB", (width, height), (128, 128, 128))
    before = backbone.features(backbone.batch([blank])).tokens
    for shape, empty, layer in zip(backbone.shapes, maps_of(before), range(2), strict=True):
        rows, cols = shape.grid
        row, col = rows // 2, cols // 2
        box = scale.cell_box(row, col, shape.grid, width, height)
        image = blank.copy()
        image.paste((255, 0, 0), tuple(map(round, box)))
        tokens = maps_of(backbone.features(backbone.batch([image])).tokens)[layer]
        changes = torch.linalg.vector_norm(tokens - empty, dim=-1)[0].reshape(rows, cols)
        assert divmod(int(changes.argmax()), cols) == (row, col), shape


@torch.inference_mode()
def test_a_code_of_two_layers_is_found_in_the_cell_whose_box_holds_the_same_square(tmp_path) -> None:
    backbone = Backbone.load(RESNET.config(tmp_path, layers=("layer3", "last"), view="pad"), "cpu")
    scale, (width, height), (rows, cols) = backbone.spec.preprocessing, (90, 60), backbone.grid
    cells = [(row, col) for row in range(rows) for col in range(cols)]
    images = []
    for row, col in cells:
        image = Image.new("RGB", (width, height), (128, 128, 128))
        image.paste((255, 0, 0), tuple(map(round, scale.cell_box(row, col, (rows, cols), width, height))))
        images.append(image)
    tokens = backbone.features(backbone.batch(images)).tokens
    assert isinstance(tokens, LayeredTokens)
    space = fit_layer_space(lambda: [tokens], (2.0, 1.0), torch.device("cpu"))
    code = space.units(tokens)[cells.index((1, 1)), cols + 1]
    for image, (row, col) in enumerate(cells):
        found = space.cosines(tokens[image : image + 1], code[None])[0, :, 0]
        if 0 < row < rows - 1 and 0 < col < cols - 1:  # at an edge the network sees other surroundings
            assert divmod(int(found.argmax()), cols) == (row, col)
