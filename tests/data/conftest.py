"""Small image files, made here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Photo = Callable[..., Image.Image]


@pytest.fixture
def photo() -> Photo:
    """A smooth picture that differs for each number; smooth, so that JPEG keeps its colours."""

    def make(number: int = 0, width: int = 48, height: int = 40) -> Image.Image:
        corners = np.random.default_rng(number).integers(0, 256, (2, 2, 3), dtype=np.uint8)
        return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)

    return make


@pytest.fixture
def fill(photo: Photo) -> Callable[..., None]:
    """Write ``count`` different PNGs into a folder."""

    def write(folder: Path, count: int, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            photo(start + number).save(folder / f"{number}.png")

    return write
