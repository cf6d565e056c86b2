import pytest
import torch

from protoquant.core.errors import ShapeError
from protoquant.core.events import ProgressEvent
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import stream_tokens
from tests.builders.tokens import write_split

CPU = torch.device("cpu")
TOKENS = torch.arange(7 * 6 * 4.0).reshape(7, 6, 4)


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    """Seven images in shards of 3, 3 and 1."""
    return write_split(tmp_path / "train", TOKENS, torch.arange(7), shard=3)


@pytest.mark.parametrize(
    ("batch", "images", "sizes"),
    [
        (1, None, [1] * 7),
        (2, None, [2, 1, 2, 1, 1]),
        (9, None, [3, 3, 1]),
        (2, slice(1, 6), [2, 2, 1]),
        (2, slice(4, 5), [1]),
        (2, slice(3, 3), []),
    ],
)
def test_every_image_of_the_run_comes_once_and_no_batch_spans_two_shards(store, batch, images, sizes) -> None:
    parts = list(stream_tokens(store, batch, CPU, images=images))
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat([TOKENS[:0], *parts]), TOKENS if images is None else TOKENS[images])


def test_progress_is_told_at_the_start_and_once_a_batch_is_worked_on(store) -> None:
    events: list[ProgressEvent] = []
    parts = stream_tokens(store, 2, CPU, images=slice(2, 6), label="look", on_event=events.append)
    assert [events[-1] for _ in parts] == [ProgressEvent("look", done, 4) for done in (0, 1, 3)]
    assert events == [ProgressEvent("look", done, 4) for done in (0, 1, 3, 4)]


def test_a_store_without_images_is_refused(tmp_path) -> None:
    empty = write_split(tmp_path / "train", TOKENS[:0], torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"train holds no image; check the shares of prepare$"):
        next(stream_tokens(empty, 2, CPU))
