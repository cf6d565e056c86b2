"""Extract by several processes: the same bytes, the same errors, each shard once."""

import pytest

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import DataError
from protoquant.core.events import ProgressEvent
from tests.builders.backbones import RESNET
from tests.features.test_extract import run

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("two_processes")]


def test_two_processes_write_the_bytes_of_one(photos, tmp_path):
    config = RESNET.config(tmp_path, batch=4, shard=4)
    events = []
    alone = run(config, photos, out="alone", cache="alone-cache")
    shared = run(config, photos, out="shared", cache="shared-cache", processes=2, on_event=events.append)
    assert artifact_digest(shared.out) == artifact_digest(alone.out)
    assert (shared.computed, shared.linked) == (alone.computed, 0)
    counts = [(event.done, event.total) for event in events if isinstance(event, ProgressEvent)]
    assert counts == sorted(counts)
    assert counts[-1][0] == counts[-1][1]
    again = run(config, photos, out="again", cache="shared-cache", processes=2)
    assert (again.computed, again.linked) == (0, alone.computed)


def test_an_image_that_changed_is_named_by_another_process_too(photos, tmp_path):
    _, root = photos
    (path,) = list(root.rglob("train/finch/0.png"))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"^train/finch/0\.png changed since prepare"):
        run(RESNET.config(tmp_path, batch=4, shard=4), photos, processes=2)
