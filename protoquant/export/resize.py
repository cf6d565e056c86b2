"""Pillow's resize and crop as two matrix products, so that one traced program takes images of any size.

Sizes are 0-d tensors here, so that a traced program computes them anew for each image. ``Preprocessing.apply`` does
the same with Pillow, and the tests compare the two byte by byte.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import PIL
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from protoquant.features.backbone.preprocessing import Preprocessing

_BITS = 22
"""Number of binary places to which Pillow rounds the weights of its 8-bit filters."""

_PILLOW_CHOOSES = int(PIL.__version__.partition(".")[0]) >= 13

_LONGEST = 1 << 16
"""Largest side of a resized image, in pixels, that ``nearest`` supports."""


def _box(x: Float64[Tensor, "m n"]) -> Float64[Tensor, "m n"]:
    return ((x > -0.5) & (x <= 0.5)).to(torch.float64)


def _bilinear(x: Float64[Tensor, "m n"]) -> Float64[Tensor, "m n"]:
    return (1.0 - x.abs()).clamp_min(0.0)


def _hamming(x: Float64[Tensor, "m n"]) -> Float64[Tensor, "m n"]:
    return torch.where(x.abs() < 1.0, _sinc(x) * (0.54 + 0.46 * torch.cos(math.pi * x)), 0.0)


def _bicubic(x: Float64[Tensor, "m n"]) -> Float64[Tensor, "m n"]:
    x, a = x.abs(), -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))


def _lanczos(x: Float64[Tensor, "m n"]) -> Float64[Tensor, "m n"]:
    return torch.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)


def _sinc(x: Float64[Tensor, "m n"]) -> Float64[Tensor, "m n"]:
    turned = math.pi * x
    return torch.where(x == 0.0, 1.0, torch.sin(turned) / torch.where(x == 0.0, 1.0, turned))


_FILTERS: Mapping[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "box": (0.5, _box),
    "bilinear": (1.0, _bilinear),
    "hamming": (1.0, _hamming),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
}


@dataclass(frozen=True)
class CropAxis:
    """One axis of the crop.

    Attributes:
        weights: Weight of each image pixel in each crop pixel (crop, size); rows of padding are zero.
        inside: Whether each crop pixel lies on the image (crop).
    """

    weights: Float64[Tensor, "m n"]
    inside: Tensor


def resize_and_crop(pixels: UInt8[Tensor, "n h w 3"], preprocessing: Preprocessing) -> Float[Tensor, "n p q 3"]:
    """Resize and crop to the same bytes as :meth:`Preprocessing.apply`.

    Pillow filters one axis, rounds to bytes, then filters the other. It adds integers (weights times 2 ** 22), which
    float64 holds exactly, so the order in which a matrix product adds them does not matter.

    Args:
        pixels: RGB images of one size, each side at least 1.
        preprocessing: Sizes, mode and filter.

    Returns:
        Crops (n, p, q, 3), float32, of whole numbers in [0, 255].
    """
    _, rows, cols, _ = pixels.shape
    height, width = _number(rows), _number(cols)
    new_height, new_width = _resized(height, width, preprocessing)
    crop_height, crop_width = preprocessing.crop
    down = _axis(height, rows, new_height, crop_height, preprocessing.interpolation)
    across = _axis(width, cols, new_width, crop_width, preprocessing.interpolation)
    found = _product(pixels, down.weights, across.weights, _columns_first(height, width, new_height, new_width))
    fill = [round(255 * value) for value in preprocessing.mean] if preprocessing.mode == "border" else [0, 0, 0]
    inside = down.inside[:, None] & across.inside[None, :]
    return torch.where(inside[None, :, :, None], found.to(torch.float32), torch.tensor(fill, dtype=torch.float32))


def _columns_first(height: Tensor, width: Tensor, new_height: Tensor, new_width: Tensor) -> Tensor:
    """Whether Pillow filters the columns first: from version 13, where the height shrinks by far more pixels."""
    less = height - new_height
    return (less > 0) & (less > 2 * (width - new_width)) & _PILLOW_CHOOSES


def _product(pixels: Tensor, down: Tensor, across: Tensor, columns_first: Tensor) -> Float64[Tensor, "n p q 3"]:
    """Run both passes; a traced program holds both orders and chooses the one that Pillow uses."""
    operands = (pixels, down, across)
    if torch.compiler.is_exporting():
        found: Tensor = torch.cond(columns_first, _columns_then_rows, _rows_then_columns, operands)
        return found
    return (_columns_then_rows if bool(columns_first) else _rows_then_columns)(*operands)


def _rows_then_columns(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
    n, height, width, channels = pixels.shape
    values = pixels.to(torch.float64).permute(0, 1, 3, 2).reshape(n, height * channels, width)
    rows = _bytes(values @ across.T).reshape(n, height, channels * across.shape[0])
    found = _bytes(down @ rows).reshape(n, down.shape[0], channels, across.shape[0])
    return found.permute(0, 1, 3, 2).contiguous()


def _columns_then_rows(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
    n, height, width, channels = pixels.shape
    columns = _bytes(down @ pixels.to(torch.float64).reshape(n, height, width * channels))
    values = columns.reshape(n, down.shape[0], width, channels).permute(0, 1, 3, 2)
    found = _bytes(values.reshape(n, down.shape[0] * channels, width) @ across.T)
    return found.reshape(n, down.shape[0], channels, across.shape[0]).permute(0, 1, 3, 2).contiguous()


def _number(size: int) -> Float64[Tensor, ""]:
    """Convert a size, which may be symbolic, to a tensor."""
    return torch.scalar_tensor(size, dtype=torch.float64)


def _resized(height: Tensor, width: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Size of the resized image, computed as in ``Preprocessing.placement``."""
    target_height, target_width = preprocessing.resize
    if preprocessing.mode == "squash":
        return torch.full_like(height, target_height), torch.full_like(width, target_width)
    if preprocessing.mode == "center" and target_height == target_width:
        upright = width <= height
        side = torch.full_like(height, target_width)
        tall, wide = torch.floor(target_width * height / width), torch.floor(target_width * width / height)
        return torch.where(upright, tall, side), torch.where(upright, side, wide)
    choose = torch.maximum if preprocessing.mode == "border" else torch.minimum
    ratio = choose(height / target_height, width / target_width)
    return torch.round(height / ratio).clamp_min(1.0), torch.round(width / ratio).clamp_min(1.0)


def _axis(size: Tensor, pixels: int, new: Tensor, crop: int, name: str) -> CropAxis:
    """Weights of one axis; ``pixels`` is ``size`` as a shape, and ``new`` is the size after the resize."""
    padding, start = -torch.floor((crop - new) / 2.0), torch.round((new - crop) / 2.0)
    places = torch.arange(crop, dtype=torch.float64) + torch.where(new < crop, padding, start)
    inside = (places >= 0.0) & (places < new)
    sources = torch.arange(pixels, dtype=torch.float64)
    scale = size / new
    weights = _nearest(places, sources, scale) if name == "nearest" else _filtered(places, sources, scale, size, name)
    return CropAxis(torch.where(inside[:, None], weights, 0.0), inside)


def _nearest(places: Tensor, sources: Tensor, scale: Tensor) -> Float64[Tensor, "m n"]:
    """One source pixel per place; the steps are summed as in Pillow, whose rounding can decide between two pixels."""
    steps = torch.cat([0.5 * scale[None], scale.expand(_LONGEST - 1)])
    found = torch.floor(torch.cumsum(steps, dim=0))[places.clamp(0, _LONGEST - 1).to(torch.int64)]
    return (found[:, None] == sources[None, :]).to(torch.float64)


def _filtered(places: Tensor, sources: Tensor, scale: Tensor, size: Tensor, name: str) -> Float64[Tensor, "m n"]:
    """Pillow's coefficients: the filter, stretched if the image shrinks, over a window that is cut at the edges."""
    support, function = _FILTERS[name]
    stretch = scale.clamp_min(1.0)
    centres = ((places + 0.5) * scale)[:, None]
    first = torch.floor(centres - support * stretch + 0.5).clamp_min(0.0)
    after = torch.minimum(torch.floor(centres + support * stretch + 0.5), size)
    within = (sources >= first) & (sources < after)
    raw = torch.where(within, function((sources - centres + 0.5) * (1.0 / stretch)), 0.0)
    total = raw.sum(dim=1, keepdim=True)
    shares = raw / torch.where(total == 0.0, 1.0, total) * float(1 << _BITS)
    whole = torch.where(shares < 0.0, torch.ceil(shares - 0.5), torch.floor(shares + 0.5))
    return whole / float(1 << _BITS)


def _bytes(values: Tensor) -> Float64[Tensor, "*any"]:
    """Round half up and clip to the range of a byte."""
    return torch.floor(values + 0.5).clamp(0.0, 255.0)
