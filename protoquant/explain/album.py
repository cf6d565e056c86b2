"""Pictures of the report: each image once, cut to what the backbone sees, as a data URI."""

from dataclasses import dataclass

from PIL import Image

from protoquant.data.table import ImageTable
from protoquant.explain.cut import cut
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.model.region import CellRegion
from protoquant.pages.pictures import webp_uri


@dataclass(frozen=True)
class Rect:
    """A rectangle in pixels of a picture."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Picture:
    """The backbone's view of one image.

    Attributes:
        key: Name within the page, such as ``p12``.
        image_id: Relative POSIX path of the image.
        width: Width of the picture, in pixels.
        height: Height of the picture, in pixels.
        uri: The picture as a ``data:`` URI.
        original: (width, height) of the decoded image it was cut from.
    """

    key: str
    image_id: str
    width: int
    height: int
    uri: str
    original: tuple[int, int]


class Album:
    """Encodes each image of the page once, and locates its grid cells.

    Args:
        table: All images with their files.
        preprocessing: The backbone's preprocessing.
        grid: (h, w), in cells.
        size: Longer side of a picture, in pixels.
        quality: WebP quality, 1 to 100.
    """

    def __init__(
        self, table: ImageTable, preprocessing: Preprocessing, grid: tuple[int, int], size: int, quality: int
    ) -> None:
        self._table = table
        self._preprocessing = preprocessing
        self._grid = grid
        self._size = size
        self._quality = quality
        self._pictures: dict[str, Picture] = {}

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures so far, in the order of their first use."""
        return tuple(self._pictures.values())

    def picture(self, image_id: str) -> Picture:
        """The picture of an image.

        Raises:
            ImageError: The file is missing or cannot be decoded.
        """
        if image_id not in self._pictures:
            image = self._table.image(image_id, at_least=max(self._preprocessing.at_least, 2 * self._size))
            view = see(image, self._preprocessing, self._size)
            key = f"p{len(self._pictures)}"
            uri = webp_uri(view, self._quality)
            self._pictures[image_id] = Picture(key, image_id, view.width, view.height, uri, image.size)
        return self._pictures[image_id]

    def cell(self, image_id: str, row: int, col: int) -> Rect:
        """Where a grid cell lies in the picture of an image.

        Raises:
            ShapeError: The cell is not in the grid.
        """
        return self.region(image_id, CellRegion(row, col, row + 1, col + 1))

    def region(self, image_id: str, region: CellRegion) -> Rect:
        """Where a region lies in the picture of an image.

        Raises:
            ShapeError: The region is not in the grid.
        """
        picture = self.picture(image_id)
        left, top, right, bottom = self._preprocessing.frame(*picture.original)
        box = region.box(self._preprocessing.cell_frame, self._grid, picture.original)
        across, down = picture.width / (right - left), picture.height / (bottom - top)
        return Rect(
            round((box[0] - left) * across, 2),
            round((box[1] - top) * down, 2),
            round((box[2] - box[0]) * across, 2),
            round((box[3] - box[1]) * down, 2),
        )

    def around(self, image_id: str, rect: Rect) -> Rect:
        """The surroundings of a region: twice its longer side in cells, moved to lie within the picture."""
        picture, (rows, cols) = self.picture(image_id), self._grid
        across, down = picture.width / cols, picture.height / rows
        cells = 2 * max(rect.width / across, rect.height / down)
        width, height = min(cells * across, picture.width), min(cells * down, picture.height)
        x = min(max(rect.x + (rect.width - width) / 2, 0.0), picture.width - width)
        y = min(max(rect.y + (rect.height - height) / 2, 0.0), picture.height - height)
        return Rect(round(x, 2), round(y, 2), round(width, 2), round(height, 2))


def see(image: Image.Image, preprocessing: Preprocessing, size: int) -> Image.Image:
    """Cut an image to what the backbone sees.

    Args:
        image: RGB, any size.
        preprocessing: The backbone's preprocessing.
        size: Longer side of the result, in pixels.

    Returns:
        RGB, with the padding that the backbone sees; the aspect ratio is that of the cut, not of the backbone's input.
    """
    red, green, blue = (round(255 * value) for value in preprocessing.mean)
    return cut(image, preprocessing.frame(*image.size), size, (red, green, blue))
