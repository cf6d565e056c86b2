"""Augmented views of images, drawn from the digest of each file so that its path does not matter."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from typing import Any

import torch
from PIL import Image, ImageEnhance

from protoquant.core.seeding import torch_generator
from protoquant.features.backbone.preprocessing import Box, Preprocessing
from protoquant.features.config import AugmentConfig


@dataclass(frozen=True)
class Draw:
    """The random choices for one view of one image.

    Attributes:
        area: Share that the crop has of the largest crop of its shape, in (0, 1].
        ratio: Aspect ratio of the crop, relative to the plain view's; 1 means no stretching.
        across: Horizontal position of the crop, from the left edge (0) to the right edge (1).
        down: Vertical position of the crop, from the top (0) to the bottom (1).
        flip: Whether the view is mirrored left to right.
        brightness: Factor; 1 changes nothing.
        contrast: Factor; 1 changes nothing.
        saturation: Factor; 1 changes nothing.
    """

    area: float
    ratio: float
    across: float
    down: float
    flip: bool
    brightness: float
    contrast: float
    saturation: float

    def box(self, width: int, height: int, shape: float) -> Box:
        """Place the crop.

        Args:
            width: Width of the image, in pixels.
            height: Height of the image, in pixels.
            shape: Aspect ratio (width / height) of the plain view.

        Returns:
            (left, top, right, bottom) in pixels, inside the image.
        """
        wanted = shape * self.ratio
        side = sqrt(self.area)
        wide, high = (side * value for value in (min(width, height * wanted), min(height, width / wanted)))
        left, top = self.across * (width - wide), self.down * (height - high)
        return left, top, min(left + wide, width), min(top + high, height)


@dataclass(frozen=True)
class View:
    """One augmented view of all train images.

    Attributes:
        number: Number of the view, from 1; 0 would be the plain view.
        seed: The seed of params.yaml.
        augment: The allowed changes and their limits.
    """

    number: int
    seed: int
    augment: AugmentConfig

    def to_dict(self) -> dict[str, Any]:
        """Everything that decides the view apart from the image, as plain values."""
        return {"number": self.number, "seed": self.seed, "augment": self.augment.model_dump(mode="json")}

    def at_least(self, preprocessing: Preprocessing) -> int:
        """Short side in pixels from which decoding a larger image adds nothing to the smallest crop."""
        height, width = preprocessing.crop
        shape = 1.0 if preprocessing.mode == "squash" else width / height
        narrow, wide = (shape * ratio for ratio in self.augment.ratio)
        return ceil(max(height * max(1.0, wide), width * max(1.0, 1 / narrow)) / sqrt(self.augment.area[0]))

    def draw(self, digest: str) -> Draw:
        """Draw the choices for one image.

        Every choice uses its own random number, so switching off one kind of change leaves the others as they were.

        Args:
            digest: Digest of the image file; it names the random stream together with the seed and the view.
        """
        stream = torch_generator(self.seed, "view", self.number, digest)
        area, ratio, across, down, flip, *colours = torch.rand(8, generator=stream, dtype=torch.float64).tolist()
        limits = self.augment
        low, high = (log(edge) for edge in limits.ratio)
        reach = (limits.brightness, limits.contrast, limits.saturation)
        factors = [1 + most * (2 * colour - 1) for most, colour in zip(reach, colours, strict=True)]
        return Draw(
            area=limits.area[0] + area * (limits.area[1] - limits.area[0]),
            ratio=exp(low + ratio * (high - low)),
            across=across,
            down=down,
            flip=flip < limits.flip,
            brightness=factors[0],
            contrast=factors[1],
            saturation=factors[2],
        )

    def apply(self, image: Image.Image, digest: str, preprocessing: Preprocessing) -> Image.Image:
        """Crop, resize, flip and colour one image.

        Args:
            image: RGB, any size.
            digest: Digest of its file.
            preprocessing: Gives the size, filter and aspect ratio of the plain view; where the plain view squashes
                the image, the aspect ratio is the image's own, and where it pads, the crop is of the padded image.

        Returns:
            An RGB image of the plain view's size.
        """
        drawn = self.draw(digest)
        height, width = preprocessing.crop
        if preprocessing.mode == "border":
            image = preprocessing.padded(image)
        shape = image.width / image.height if preprocessing.mode == "squash" else width / height
        resampling = Image.Resampling[preprocessing.interpolation.upper()]
        image = image.resize((width, height), resampling, box=drawn.box(*image.size, shape))
        if drawn.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for change, factor in (
            (ImageEnhance.Brightness, drawn.brightness),
            (ImageEnhance.Contrast, drawn.contrast),
            (ImageEnhance.Color, drawn.saturation),
        ):
            image = change(image).enhance(factor)
        return image
