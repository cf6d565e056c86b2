"""The layers of a timm model that can be read beside its last one, and their grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from jaxtyping import Float
from torch import Tensor, nn

from protoquant.core.errors import ConfigError
from protoquant.features.backbone.layout import Layout
from protoquant.features.config import LAST
from protoquant.features.tokens import Grid, finest


@dataclass(frozen=True)
class LayerShape:
    """The tokens of one layer.

    Attributes:
        name: Name of the layer.
        grid: (h, w), in cells.
        d: Dimension of a token.
    """

    name: str
    grid: Grid
    d: int

    @property
    def t(self) -> int:
        """Number of patch tokens in an image."""
        return self.grid[0] * self.grid[1]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what ``to_dict`` wrote; a missing key is a KeyError."""
        rows, cols = values["grid"]
        return cls(values["name"], (rows, cols), values["d"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "grid": list(self.grid), "d": self.d}


def layer_positions(model: nn.Module, name: str, layers: Sequence[str]) -> list[int]:
    """The positions of layers in the model's list of them, all but the last layer's.

    Args:
        model: A timm model.
        name: Its name, for the error.
        layers: Names as in ``extract.layers``; the last one is ``last``.

    Raises:
        ConfigError: The model has no such layer, or they are not in its order.
    """
    known = known_layers(model)
    for layer in layers[:-1]:
        if layer not in known:
            has = ", ".join(f"{each} (stride {stride})" for each, stride in known.items()) or "no other layer"
            raise ConfigError(f"extract.layers: {name} has no {layer!r}, it has {has} and {LAST}, which alone will do")
    found = [list(known).index(layer) for layer in layers[:-1]]
    if found != sorted(found):
        order = [*(each for each in known if each in layers), LAST]
        raise ConfigError(f"extract.layers must be in the order of the network, {order}, got {list(layers)}")
    return found


def known_layers(model: nn.Module) -> dict[str, int]:
    """Name and stride in pixels of each layer that timm can give beside the last one."""
    if not hasattr(model, "forward_intermediates"):
        return {}
    return {one["module"]: int(one["reduction"]) for one in getattr(model, "feature_info", [])}


def intermediate_maps(
    model: nn.Module, images: Float[Tensor, "n 3 h w"], positions: Sequence[int]
) -> tuple[Tensor, list[Float[Tensor, "n d h w"]]]:
    """The last layer as ``forward_features`` gives it, and the maps of layers before it, in one pass."""
    last, maps = model.forward_intermediates(images, indices=list(positions), output_fmt="NCHW")  # type: ignore[operator]
    return last, maps


def layer_shapes(
    name: str, layers: Sequence[str], maps: Sequence[Float[Tensor, "n d h w"]], layout: Layout
) -> tuple[LayerShape, ...]:
    """The shapes of all layers.

    Args:
        name: Name of the model, for the error.
        layers: Names of the layers.
        maps: Maps of all but the last one.
        layout: Layout of the last one.

    Raises:
        ConfigError: The grid of a layer does not divide the finest one.
    """
    shapes = tuple(
        LayerShape(layer, (int(of_layer.shape[2]), int(of_layer.shape[3])), int(of_layer.shape[1]))
        for layer, of_layer in zip(layers[:-1], maps, strict=True)
    )
    shapes = (*shapes, LayerShape(LAST, layout.grid, layout.d))
    rows, cols = finest([shape.grid for shape in shapes])
    for shape in shapes:
        if rows % shape.grid[0] or cols % shape.grid[1]:
            raise ConfigError(
                f"extract.layers must share a grid: {shape.name} of {name} has {shape.grid[0]} x {shape.grid[1]} "
                f"cells, which do not divide {rows} x {cols}; choose another extract.input_size or other layers"
            )
    return shapes
