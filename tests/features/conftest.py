import pytest

from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.prepare import prepare
from tests.builders.pictures import small, write_classes
from tests.storage.conftest import alone, server, store  # noqa: F401 (fixtures: a real S3 server)

SIZES = {"train": 5, "validation": 2, "test": 3}


@pytest.fixture
def photos(tmp_path):
    """(images, root): what prepare writes of 20 small pictures of two classes, and their folder."""
    root = tmp_path / "photos"
    write_classes(root, SIZES, ("finch", "jay"), small)
    prepare(
        PrepareConfig(reader="image_folder"),
        root=root,
        out=tmp_path / "images",
        parts=tmp_path / "parts",
        seed=0,
        on_event=ignore,
    )
    return tmp_path / "images", root
