"""Maps a decoded image to the backbone's input pixels, and grid cells back to the image."""

from dataclasses import asdict, dataclass, replace
from math import floor
from typing import Any, Literal, Self, get_args

from PIL import Image

from protoquant.core.errors import ArtifactError, ShapeError

Mode = Literal["center", "squash", "border"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Box = tuple[float, float, float, float]
_RESAMPLING: dict[str, Image.Resampling] = {name: Image.Resampling[name.upper()] for name in get_args(Interpolation)}


@dataclass(frozen=True)
class Placement:
    """Position of the crop: the size of the resized image and the crop's corner in it (negative: padding)."""

    width: int
    height: int
    left: int
    top: int


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalisation, fixed for one backbone, with the geometry of timm's evaluation transform.

    Attributes:
        resize: Target (height, width) of the resize, in pixels.
        crop: (height, width) of the crop that the backbone sees, in pixels.
        mode: ``center``: the image covers the target, aspect kept; ``squash``: it becomes the target;
            ``border``: it fits into the target, aspect kept, padded with the mean colour.
        interpolation: Filter of the resize (always anti-aliased).
        mean: Mean of each channel, in [0, 1].
        std: Divisor of each channel, > 0.
    """

    resize: tuple[int, int]
    crop: tuple[int, int]
    mode: Mode
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_share(
        cls,
        crop: tuple[int, int],
        share: float,
        *,
        mode: Mode,
        interpolation: Interpolation,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> Self:
        """Derive the size of the resize from the share of it that the crop keeps.

        Args:
            crop: (height, width), in pixels.
            share: crop / resize, timm's ``crop_pct``, in (0, 1].
            mode: As in the class.
            interpolation: As in the class.
            mean: As in the class.
            std: As in the class.
        """
        resize = (floor(crop[0] / share), floor(crop[1] / share))
        return cls(resize, crop, mode, interpolation, mean, std)

    def whole(self, mode: Literal["squash", "border"]) -> Self:
        """The same for whole images: nothing is cut away.

        Args:
            mode: ``squash`` stretches an image to the crop; ``border`` keeps its shape and pads.
        """
        return replace(self, resize=self.crop, mode=mode)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what ``to_dict`` wrote.

        Raises:
            ArtifactError: A key is missing or unknown.
        """
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        try:
            return cls(**plain)
        except TypeError as error:
            raise ArtifactError(f"preprocessing holds other keys than this version knows: {sorted(values)}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @property
    def at_least(self) -> int:
        """Short side in pixels from which decoding a larger image adds nothing to the crop."""
        return max(self.resize)

    def placement(self, width: int, height: int) -> Placement:
        """Place the crop on the resized image.

        Args:
            width: Width of the original image after EXIF rotation, in pixels, at least 1.
            height: Height of the same image.
        """
        new_width, new_height = self._resized(width, height)
        crop_height, crop_width = self.crop
        return Placement(new_width, new_height, _offset(new_width, crop_width), _offset(new_height, crop_height))

    def apply(self, image: Image.Image) -> Image.Image:
        """Resize and crop.

        Args:
            image: RGB, any size.

        Returns:
            An RGB image of size ``crop``.
        """
        placed = self.placement(*image.size)
        if image.size != (placed.width, placed.height):
            image = image.resize((placed.width, placed.height), _RESAMPLING[self.interpolation])
        height, width = self.crop
        if self.mode != "border":
            return image.crop((placed.left, placed.top, placed.left + width, placed.top + height))
        canvas = Image.new("RGB", (width, height), self._mean_colour)
        canvas.paste(image, (-placed.left, -placed.top))
        return canvas

    def padded(self, image: Image.Image) -> Image.Image:
        """Pad an image with the mean colour to the shape of the crop, at its own scale.

        Args:
            image: RGB, any size.
        """
        height, width = self.crop
        size = (
            max(image.width, round(image.height * width / height)),
            max(image.height, round(image.width * height / width)),
        )
        canvas = Image.new("RGB", size, self._mean_colour)
        canvas.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
        return canvas

    def enlarges(self, width: int, height: int) -> bool:
        """Whether the resize makes an image larger than its own pixels along either side."""
        placed = self.placement(width, height)
        return placed.width > width or placed.height > height

    def frame(self, width: int, height: int) -> Box:
        """The crop in pixels of the original image: ``view_box`` and the padding around it.

        Args:
            width: Width of the original image after EXIF rotation, in pixels.
            height: Height of the same image.

        Returns:
            (left, top, right, bottom); where the crop is padded, beyond the image.
        """
        return self.cell_frame(0, 0, (1, 1), width, height)

    def view_box(self, width: int, height: int) -> Box:
        """The part of the original image that the backbone sees.

        Args:
            width: Width of the original image after EXIF rotation, in pixels.
            height: Height of the same image.

        Returns:
            (left, top, right, bottom) in pixels of the original, inside it.
        """
        return self.cell_box(0, 0, (1, 1), width, height)

    def cell_box(self, row: int, col: int, grid: tuple[int, int], width: int, height: int) -> Box:
        """The part of the original image under one grid cell.

        Args:
            row: In [0, h).
            col: In [0, w).
            grid: (h, w), in cells.
            width: Width of the original image after EXIF rotation, in pixels.
            height: Height of the same image.

        Returns:
            (left, top, right, bottom) in pixels of the original, clipped to it; empty if the cell lies
            entirely in padding.

        Raises:
            ShapeError: The cell is not in the grid.
        """
        left, top, right, bottom = self._cell(row, col, grid, width, height)
        return _inside(left, width), _inside(top, height), _inside(right, width), _inside(bottom, height)

    def cell_frame(self, row: int, col: int, grid: tuple[int, int], width: int, height: int) -> Box:
        """One whole grid cell in pixels of the original image, padding included.

        Args and errors are those of ``cell_box``, which differs where a cell reaches into padding.
        """
        box = self._cell if self.mode == "border" else self.cell_box
        return box(row, col, grid, width, height)

    def _cell(self, row: int, col: int, grid: tuple[int, int], width: int, height: int) -> Box:
        rows, cols = grid
        if not (0 <= row < rows and 0 <= col < cols):
            raise ShapeError(f"cell ({row}, {col}) is not in the grid of {rows} x {cols} cells")
        placed = self.placement(width, height)
        crop_height, crop_width = self.crop
        left, right = ((placed.left + crop_width * edge / cols) * width / placed.width for edge in (col, col + 1))
        top, bottom = ((placed.top + crop_height * edge / rows) * height / placed.height for edge in (row, row + 1))
        return left, top, right, bottom

    @property
    def _mean_colour(self) -> tuple[int, int, int]:
        red, green, blue = (round(255 * value) for value in self.mean)
        return red, green, blue

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        target_height, target_width = self.resize
        if self.mode == "squash":
            return target_width, target_height
        if self.mode == "center" and target_height == target_width:
            if width <= height:
                return target_width, int(target_width * height / width)
            return int(target_width * width / height), target_width
        choose = max if self.mode == "border" else min
        ratio = choose(height / target_height, width / target_width)
        return max(1, round(width / ratio)), max(1, round(height / ratio))


def _offset(size: int, crop: int) -> int:
    """First pixel of a centred crop; the negative of the leading padding if the image is smaller."""
    return -((crop - size) // 2) if crop > size else round((size - crop) / 2)


def _inside(edge: float, size: int) -> float:
    return min(max(edge, 0.0), float(size))
