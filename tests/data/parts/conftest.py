"""Data with parts, prepared in both forms."""

from collections.abc import Callable
from pathlib import Path

import pytest

from protoquant.core.events import Event, ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.parts.table import PartTable
from protoquant.data.prepare import prepare
from tests.builders.cub import write_cub
from tests.builders.funnybirds import write_funnybirds

Prepared = Callable[..., PartTable]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """Prepare a data set below ``tmp_path`` and open its parts."""

    def make(root: Path, on_event: Callable[[Event], None] = ignore, workers: int = 1, **config: object) -> PartTable:
        folder = tmp_path / "artifacts"
        config = PrepareConfig.parse({"min_side": 8, **config})
        out, parts = folder / "images", folder / "parts"
        prepare(config, root=root, out=out, parts=parts, seed=0, on_event=on_event, workers=workers)
        return PartTable.open(parts, root)

    return make


@pytest.fixture(scope="session")
def cub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cub(tmp_path_factory.mktemp("cub"))


@pytest.fixture(scope="session")
def funnybirds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_funnybirds(tmp_path_factory.mktemp("funnybirds"))
