"""One object to a file, also from a server that does less than S3."""

from pathlib import Path
from typing import Any

import pytest

from protoquant.core.artifacts import digest_bytes
from protoquant.core.errors import StorageError
from protoquant.storage import fetch as module
from protoquant.storage.fetch import Fetcher
from protoquant.storage.listing import RemoteObject
from protoquant.storage.location import Location
from tests.storage.memory import Memory

OLD, NEW = b"the first object", b"another of 16 by"
KMS: dict[str, Any] = {"ServerSideEncryption": "aws:kms"}
"""An ETag under a key of KMS says nothing of the bytes, so that nothing else may be taken on trust."""


@pytest.fixture
def fetcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetcher:
    """Fetches pieces of eight bytes."""
    monkeypatch.setattr(module, "LARGE", 8)
    for name in ("files", "partial"):
        (tmp_path / name).mkdir()
    return Fetcher(Memory({}).client(), Location("data"), tmp_path / "files", tmp_path / "partial")


def listed(memory: Memory, fetcher: Fetcher, key: str = "a") -> RemoteObject:
    """Let the fetcher ask a memory; its object as listed."""
    object.__setattr__(fetcher, "client", memory.client())
    return RemoteObject(key, memory.etag(key), len(memory.objects[key]))


def test_of_a_server_that_heeds_no_condition_another_object_is_not_taken_for_the_listed_one(fetcher: Fetcher) -> None:
    memory = Memory({"a": OLD[:8]}, more=KMS, conditions=False)
    item = listed(memory, fetcher)
    memory.objects["a"] = NEW[:8]
    entry = fetcher.fetch(item)
    assert entry is not None
    assert (entry.etag, entry.sha256) == (memory.etag("a"), digest_bytes(NEW[:8]))


def test_an_object_that_breaks_off_is_asked_for_again(fetcher: Fetcher) -> None:
    memory = Memory({"a": OLD[:8]}, more=KMS, cut=[3])
    entry = fetcher.fetch(listed(memory, fetcher))
    assert entry is not None
    assert (len(memory.gets), entry.sha256) == (2, digest_bytes(OLD[:8]))


def test_a_server_without_ranges_is_named(fetcher: Fetcher) -> None:
    memory = Memory({"a": OLD}, more=KMS, ranges=False)
    with pytest.raises(StorageError, match=r"S3 at http://memory serves no ranges of 'a'; use a server that does"):
        fetcher.fetch(listed(memory, fetcher))


def test_pieces_that_were_noted_are_not_fetched_again_unless_their_file_is_gone(fetcher: Fetcher) -> None:
    memory = Memory({"a": OLD + NEW})
    item = listed(memory, fetcher)
    whole = memory.get_object

    def broken(**asked: Any) -> dict[str, Any]:
        if asked["Range"] == "bytes=16-23":
            raise KeyboardInterrupt
        return whole(**asked)

    memory.get_object = broken  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fetcher.fetch(item)
    assert [asked for _, asked in memory.gets] == ["bytes=0-7", "bytes=8-15"]
    (aside,) = (path for path in fetcher.partial.iterdir() if not path.suffix)
    aside.unlink()
    memory.get_object = whole  # type: ignore[method-assign]
    memory.gets.clear()
    fetcher.fetch(item)
    assert len(memory.gets) == 4
    assert (fetcher.files / "a").read_bytes() == OLD + NEW


def test_a_file_is_known_again_by_its_md5_alone(fetcher: Fetcher) -> None:
    item = listed(Memory({"a": OLD}), fetcher)
    (fetcher.files / "a").write_bytes(NEW)
    assert fetcher.adopt(item) is None
    for etag in (f"{item.etag}-2", "of-another-form", "opaque"):
        assert fetcher.adopt(RemoteObject("a", etag, item.size)) is None
    (fetcher.files / "a").write_bytes(OLD)
    found = fetcher.adopt(item)
    assert found is not None
    assert found.sha256 == digest_bytes(OLD)
