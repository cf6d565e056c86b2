import numpy as np
import pytest
from PIL import Image

from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.prepare import prepare
from tests.storage.conftest import alone, server, store  # noqa: F401 (fixtures: a real S3 server)

SIZES = {"train": 5, "validation": 2, "test": 3}


def draw(path, seed, size=(100, 80)):
    """A smooth random picture; another seed gives another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def photos(tmp_path):
    """(images, root): what prepare writes of 20 small pictures of two classes, and their folder."""
    root = tmp_path / "photos"
    seed = 0
    for split, count in SIZES.items():
        for name in ("finch", "jay"):
            for number in range(count):
                seed += 1
                draw(root / split / name / f"{number}.png", seed)
    prepare(PrepareConfig(reader="image_folder"), root=root, out=tmp_path / "images", seed=0, on_event=ignore)
    return tmp_path / "images", root
