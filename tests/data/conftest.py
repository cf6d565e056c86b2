"""Small image files, made here."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.builders.pictures import smooth

Photo = Callable[..., Image.Image]


@pytest.fixture
def photo() -> Photo:
    """A picture that differs for each number."""
    return smooth


@pytest.fixture
def fill() -> Callable[..., None]:
    """Write ``count`` different PNGs into a folder."""

    def write(folder: Path, count: int, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            smooth(start + number).save(folder / f"{number}.png")

    return write
