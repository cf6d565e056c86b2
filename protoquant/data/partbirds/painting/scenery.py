"""Backgrounds: sky, meadow, water and foliage, out of focus, from gradients and smooth noise."""

import numpy as np
from PIL import Image

from protoquant.data.partbirds.painting.curves import Plane, Points, ellipse
from protoquant.data.partbirds.painting.paint import Tile, blurred, noise
from protoquant.data.partbirds.painting.palette import Colour, darker, lighter, mix
from protoquant.data.partbirds.scene import Backdrop


def paint_backdrop(backdrop: Backdrop, size: int) -> Plane:
    """Paint a background (size, size, 3); it is painted at half the size, which leaves it softly out of focus."""
    rng = np.random.default_rng(backdrop.seed)
    half = size // 2
    paint = {"sky": _sky, "meadow": _meadow, "water": _water, "foliage": _foliage}[backdrop.kind]
    picture = np.clip(paint(backdrop, half, rng), 0.0, 1.0)
    small = Image.fromarray((picture * 255.0 + 0.5).astype(np.uint8))
    large = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    return large / np.float32(255.0)


def _ramp(colours: tuple[Colour, ...], at: tuple[float, ...], height: Plane) -> Plane:
    """Colours along a height in [0, 1], linear between the stops."""
    stops = np.array(colours, dtype=np.float32)
    return np.stack([np.interp(height, at, stops[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _heights(size: int) -> Plane:
    return np.repeat(((np.arange(size, dtype=np.float32) + 0.5) / size)[:, None], size, axis=1)


def _clouds(rng: np.random.Generator, size: int, wide: int = 3) -> Plane:
    """Three octaves of noise, stretched sideways, in about [-1, 1]."""
    octaves = ((4 * wide, 4, 0.55), (8 * wide, 8, 0.3), (18 * wide, 18, 0.18))
    total: Plane = np.zeros((size, size), dtype=np.float32)
    for rows, columns, weight in octaves:
        total += weight * noise(rng, (size, size), (min(rows, size), min(columns, size)))
    return total


def _sky(backdrop: Backdrop, size: int, rng: np.random.Generator) -> Plane:
    picture = _ramp(backdrop.colours, (0.0, 0.55, 1.0), _heights(size))
    veil: Plane = np.clip(_clouds(rng, size, wide=2) * 1.6 - 0.15, 0.0, 1.0)[:, :, None] * np.float32(0.65)
    picture += veil * (np.float32(0.98) - picture)
    return picture


def _meadow(backdrop: Backdrop, size: int, rng: np.random.Generator) -> Plane:
    top, middle, bottom = backdrop.colours
    border = backdrop.horizon + 0.05 * noise(rng, (1, size), (1, 6))
    height = _heights(size) - border
    far = _ramp((top, lighter(top, 0.35)), (-0.6, 0.0), height)
    near = _ramp((lighter(middle, 0.12), middle, bottom), (0.0, 0.15, 0.65), height)
    near += (0.11 * _clouds(rng, size, wide=2))[:, :, None]
    share = np.clip(height * size / 4.0 + 0.5, 0.0, 1.0)[:, :, None]
    tile = Tile(size, middle)
    lot = rng.uniform(0.0, 1.0, size=(90, 4))
    near_first = lot[np.argsort(lot[:, 1])]
    for (_, _, _, tone), blade in zip(near_first.tolist(), _blades(near_first, backdrop.horizon) * size, strict=True):
        tile.fill(blade, mix(bottom, lighter(middle, 0.3), tone))
    far += (near - far) * share
    return _over(far, tile, 0.75)


def _blades(lot: Points, horizon: float) -> Points:
    """Outlines (n, 5, 2) of blades of grass from four random numbers each, in shares of the side."""
    x, depth, lean, tall = lot.T
    up = (0.05 + 0.13 * depth) * (0.5 + tall)
    half, bow = 0.004 + 0.007 * depth, (lean - 0.5) * up
    y = horizon + (1.1 - horizon) * depth
    corners = [(x - half, y), (x - 0.6 * half + 0.3 * bow, y - 0.6 * up), (x + bow, y - up)]
    corners += [(x + 0.6 * half + 0.3 * bow, y - 0.6 * up), (x + half, y)]
    return np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)


def _water(backdrop: Backdrop, size: int, rng: np.random.Generator) -> Plane:
    top, middle, bottom = backdrop.colours
    height = _heights(size) - backdrop.horizon
    far = _ramp((lighter(top, 0.2), top), (-0.6, 0.0), height)
    far += (0.05 * _clouds(rng, size))[:, :, None]
    near = _ramp((lighter(middle, 0.25), middle, bottom), (0.0, 0.12, 0.7), height)
    ripples = noise(rng, (size, size), (size // 3, 6)) + 0.7 * noise(rng, (size, size), (size // 6, 5))
    near += (0.10 * ripples * np.clip(0.3 + 1.6 * height, 0.2, 1.0))[:, :, None]
    glints = np.clip(ripples - 1.0, 0.0, 1.0)[:, :, None] * np.float32(0.5)
    share = np.clip(height * size / 3.0 + 0.5, 0.0, 1.0)[:, :, None]
    far += (near + glints - far) * share
    return far


def _foliage(backdrop: Backdrop, size: int, rng: np.random.Generator) -> Plane:
    """Blurred leaves far off, and round lights where the sky shines through."""
    top, middle, bottom = backdrop.colours
    picture = _ramp(backdrop.colours, (0.0, 0.5, 1.0), _heights(size))
    picture += (0.09 * _clouds(rng, size, wide=1))[:, :, None]
    leaves = Tile(size, middle)
    for x, y, radius, tone in rng.uniform(0.0, 1.0, size=(36, 4)).tolist():
        shade = mix(darker(bottom, 0.15), lighter(top, 0.1), tone)
        reach = size * (0.03 + 0.08 * radius)
        leaves.fill(ellipse(x * size, y * size, reach, reach * (0.5 + tone)), shade)
    picture = _over(picture, leaves, 0.6, size / 50.0)
    lights = Tile(size, lighter(top, 0.5))
    for x, y, radius, tone in rng.uniform(0.0, 1.0, size=(14, 4)).tolist():
        reach = size * (0.015 + 0.04 * radius)
        lights.fill(ellipse(x * size, y * size * 0.85, reach, reach), lighter(top, 0.25 + 0.4 * tone))
    return _over(picture, lights, 0.32, 1.0)


def _over(picture: Plane, tile: Tile, opacity: float, radius: float = 0.0) -> Plane:
    """Lay a tile on a picture of the same size, out of focus by `radius` pixels; changes the picture."""
    layer = tile.layer()
    if layer is None:
        return picture
    alpha: Plane = np.zeros((*picture.shape[:2], 1), dtype=np.float32)
    alpha[layer.window] = layer.alpha[:, :, None]
    light: Plane = np.zeros_like(picture)
    light[layer.window] = layer.colour * layer.alpha[:, :, None]
    if radius > 0.0:
        alpha, light = blurred(alpha, radius), blurred(light, radius)
    picture += np.float32(opacity) * (light - alpha * picture)
    return picture
