"""Run an exported ONNX model with numpy and onnxruntime, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from protoquant.core.errors import ArtifactError, DataError, UsageError
from protoquant.data.images import open_image
from protoquant.data.pixels import to_rgb, upright
from protoquant.export.card import ONNX, ExportCard, open_card
from protoquant.export.onnx import open_onnx
from protoquant.export.outputs import OUTPUTS, Outputs, Run
from protoquant.model.region import CellRegion, peak_region

BATCH = 32
"""Maximum number of images per run, all of one size."""

ImageLike = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class OnnxAnswer:
    """The answer of the exported model for an image.

    Attributes:
        label: The class with the highest logit; among equals, the lowest.
        class_name: Its name.
        probability: Softmax of the logits at that class, in [0, 1].
        abstains: Whether that logit is below the bundle's threshold; False where it has none.
        logits: All class scores (c), >= 0.
        scores: Presence of each prototype (p), in [0, 1]; ``card.prototypes`` says which code each is.
        cells: Row and column of the grid cell that gave each presence (p, 2).
        maps: Share of each prototype at every cell (p, h, w), in [0, 1]; None unless asked for.
    """

    label: int
    class_name: str
    probability: float
    abstains: bool
    logits: np.ndarray
    scores: np.ndarray
    cells: np.ndarray
    maps: np.ndarray | None = None

    def region(self, place: int) -> CellRegion:
        """Where a prototype is, in grid cells: the same region as in answers and explanations of the bundle's model.

        Args:
            place: The prototype's place in ``scores``.

        Raises:
            UsageError: The answer holds no maps.
        """
        if self.maps is None:
            raise UsageError("a region needs the maps of the answer; write predict(images, maps=True)")
        row, col = self.cells[place].tolist()
        return peak_region(self.maps[place], (row, col))


@dataclass(frozen=True)
class OnnxModel:
    """An exported model, opened by :meth:`open`.

    Attributes:
        card: Description of its outputs.
        run: Function from uint8 images (n, height, width, 3) to the raw outputs.
    """

    card: ExportCard
    run: Run

    @classmethod
    def open(cls, folder: str | Path) -> OnnxModel:
        """Read an export folder, after checking every file against its digest.

        Args:
            folder: The folder that ``protoquant export`` wrote.

        Raises:
            ArtifactError: The folder is missing, damaged, or holds no ONNX model with these outputs.
        """
        path = Path(folder)
        card = open_card(path)
        if not (path / ONNX).is_file():
            raise ArtifactError(f"{path} holds no {ONNX}; run protoquant export with --format onnx or both")
        if missing := [name for name in OUTPUTS if name not in card.outputs]:
            raise ArtifactError(f"{path / ONNX} has no output {', '.join(missing)}; run protoquant export again")
        return cls(card, open_onnx(path / ONNX))

    def predict(self, images: Sequence[ImageLike], *, maps: bool = False) -> list[OnnxAnswer]:
        """Classify images.

        Args:
            images: Paths, PIL images, or uint8 arrays (height, width, 3), of any sizes.
            maps: Whether answers keep their maps, which regions need: p * h * w numbers for each image.

        Returns:
            One answer for each image, in order.

        Raises:
            DataError: An image cannot be read; the message names it.
        """
        if isinstance(images, str | Path | Image.Image | np.ndarray):
            raise UsageError("predict takes a list of images, got a single one; write predict([image])")
        opened = [self._open(image, place) for place, image in enumerate(images)]
        found: dict[int, OnnxAnswer] = {}
        for places in _of_one_size(opened):
            outputs = self.run(np.stack([opened[place] for place in places]))
            found |= {place: self._answer(outputs, row, maps) for row, place in enumerate(places)}
        return [found[place] for place in range(len(images))]

    def _answer(self, outputs: Outputs, row: int, maps: bool) -> OnnxAnswer:
        logits = outputs.logits[row]
        label = int(logits.argmax())
        powers = np.exp(logits.astype(np.float64) - float(logits[label]))
        below = self.card.abstain_below
        return OnnxAnswer(
            label=label,
            class_name=self.card.classes[label],
            probability=float(1.0 / powers.sum()),
            abstains=below is not None and float(logits[label]) < below,
            logits=logits,
            scores=outputs.scores[row],
            cells=outputs.cells[row],
            maps=outputs.maps[row] if maps else None,
        )

    def _open(self, image: ImageLike, position: int) -> np.ndarray:
        """Open an image as upright RGB bytes; a large JPEG file is decoded at a fraction, as in the bundle's model."""
        if isinstance(image, str | Path):
            return np.asarray(open_image(Path(image), at_least=self.card.at_least))
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise DataError(
                    f"image {position}: expected a uint8 array (height, width, 3), got {image.dtype} {image.shape}"
                )
            return image
        if not isinstance(image, Image.Image):
            raise DataError(
                f"image {position}: expected a path, a PIL image or a uint8 array, got {type(image).__name__}"
            )
        try:
            return np.asarray(to_rgb(upright(image)))
        except (OSError, ValueError) as error:
            raise DataError(f"image {position}: cannot be read as RGB ({error}); convert it first") from error


def _of_one_size(images: Sequence[np.ndarray]) -> list[list[int]]:
    """Group the places of images of one size into batches."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(image.shape, []).append(place)
    return [places[start : start + BATCH] for places in groups.values() for start in range(0, len(places), BATCH)]
