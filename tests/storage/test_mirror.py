"""The mirror against a real server: what it fetches, notices, repairs and refuses."""

import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

from protoquant.core.errors import StorageError
from protoquant.core.events import MessageEvent, ProgressEvent, ignore
from protoquant.storage.fetch import LARGE
from protoquant.storage.location import Location
from protoquant.storage.mirror import Mirror, local_copy, mirror
from tests.storage.memory import Memory

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
SMALL = {f"{name}/{number}.png": f"{name} {number}".encode() * 50 for name in ("jay", "finch") for number in range(6)}


class Counting:
    """A client of boto3 that notes each GET, and does something before one."""

    def __init__(self, api, before=lambda number, key: None):
        self.api, self.before = api, before
        self.gets = []
        self.lock = threading.Lock()

    def __getattr__(self, name):
        return getattr(self.api, name)

    def get_object(self, **asked):
        with self.lock:
            self.gets.append((asked["Key"], asked.get("Range")))
            number = len(self.gets)
        self.before(number, asked["Key"])
        return self.api.get_object(**asked)


class Folder:
    """A folder of the store, its mirror, and what the last refresh did."""

    def __init__(self, store, cache):
        self.store, self.cache = store, cache
        self.location = store.location("birds")
        self.events = []
        self.gets = []

    def put(self, files):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: self.store.put(f"birds/{item[0]}", item[1]), files.items()))

    def refresh(self, before=lambda number, key: None):
        api = Counting(self.store.client.api, before)
        self.events.clear()
        self.gets = api.gets
        return Mirror.open(replace(self.store.client, api=api), self.location, self.cache).refresh(self.events.append)

    @property
    def fetched(self):
        return sorted({key.removeprefix("birds/") for key, _ in self.gets})


@pytest.fixture
def folder(store, tmp_path):
    found = Folder(store, tmp_path / "objects")
    found.put(SMALL)
    return found


def content(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_folder_is_fetched_once(folder):
    path = folder.refresh()
    assert content(path) == SMALL
    assert folder.fetched == sorted(SMALL)
    done = [event.done for event in folder.events if isinstance(event, ProgressEvent)]
    assert done == list(range(len(SMALL) + 1))
    assert folder.refresh() == path
    assert folder.gets == []
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["files", "index.json", "lock"]


def test_new_changed_and_removed_objects_are_followed(folder):
    path = folder.refresh()
    folder.put({"jay/0.png": b"another", "jay/1.png": SMALL["jay/1.png"][::-1], "owl/0.png": b"new"})
    for number in range(6):
        folder.store.delete(f"birds/finch/{number}.png")
    folder.refresh()
    assert folder.fetched == ["jay/0.png", "jay/1.png", "owl/0.png"]
    kept = {name: data for name, data in SMALL.items() if name.startswith("jay")}
    changed = {"jay/0.png": b"another", "jay/1.png": SMALL["jay/1.png"][::-1], "owl/0.png": b"new"}
    assert content(path) == kept | changed
    assert not (path / "finch").exists()


def test_a_file_that_becomes_a_folder_and_back(folder):
    folder.put({"x": b"file"})
    path = folder.refresh()
    folder.store.delete("birds/x")
    folder.put({"x/y": b"inner"})
    assert content(folder.refresh()) == SMALL | {"x/y": b"inner"}
    folder.store.delete("birds/x/y")
    folder.put({"x": b"file"})
    assert content(folder.refresh()) == SMALL | {"x": b"file"}
    assert content(path)["x"] == b"file"


def test_a_damaged_file_is_fetched_again_and_a_touched_one_is_not(folder):
    path = folder.refresh()
    damaged, touched, lost, stray = (path / name for name in ("jay/0.png", "jay/1.png", "jay/2.png", "jay/9.png"))
    damaged.write_bytes(b"?" + damaged.read_bytes()[1:])
    os.utime(touched, ns=(1, 1))
    lost.unlink()
    stray.write_bytes(b"not of S3")
    folder.refresh()
    assert folder.fetched == ["jay/0.png", "jay/2.png"]
    assert content(path) == SMALL
    (said,) = [event for event in folder.events if isinstance(event, MessageEvent)]
    assert said.level == "warning"
    assert "1 local files are damaged, such as jay/0.png; fetching them again" in said.text
    folder.refresh()
    assert folder.gets == []


@pytest.fixture
def remembered(tmp_path):
    """A store in memory with a mirror that was refreshed, and the mirror."""
    memory = Memory({f"birds/{name}": name.encode() for name in "abc"})
    found = Mirror.open(memory.client(), Location("data", "birds"), tmp_path / "objects")
    found.refresh(ignore)
    memory.gets.clear()
    return memory, found


def test_what_is_removed_alone_leaves_a_whole_mirror_that_does_not_know_it(remembered):
    memory, found = remembered
    del memory.objects["birds/c"]
    assert set(content(found.refresh(ignore))) == {"a", "b"}
    assert found.whole()
    assert memory.gets == []


@pytest.mark.parametrize(("holds", "index"), [(b"x", True), (b"a", True), (b"a", False)])
def test_a_link_in_place_of_a_file_gives_way_to_the_object(remembered, tmp_path, holds, index):
    _, found = remembered
    other = tmp_path / "other"
    other.write_bytes(holds)
    (found.files / "a").unlink()
    (found.files / "a").symlink_to(other)
    if not index:
        (found.folder / "index.json").unlink()
    assert content(found.refresh(ignore)) == {name: name.encode() for name in "abc"}
    assert not (found.files / "a").is_symlink()
    assert other.read_bytes() == holds


def test_a_refresh_that_is_killed_while_it_removes_files_is_not_taken_for_whole(remembered, monkeypatch):
    memory, found = remembered
    del memory.objects["birds/c"]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_clear", killed)
        with pytest.raises(KeyboardInterrupt):
            found.refresh(ignore)
    assert not found.whole()
    assert set(content(found.refresh(ignore))) == {"a", "b"}


@pytest.mark.parametrize("harm", ["{", '{"schema": 1, "files": {"jay/0.png": ["e"]}}', ""])
def test_a_damaged_index_costs_no_download(folder, harm):
    path = folder.refresh()
    (path.parent / "index.json").write_text(harm)
    folder.refresh()
    assert folder.gets == []
    assert content(path) == SMALL


def test_a_large_object_comes_in_pieces_and_is_held_against_its_parts(folder, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(LARGE + 2**20))
    parts = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
    folder.store.client.api.upload_file(str(big), folder.store.bucket, "birds/big.bin", Config=parts)
    path = folder.refresh()
    ranges = [f"bytes=0-{LARGE - 1}", f"bytes={LARGE}-{LARGE + 2**20 - 1}"]
    assert sorted(asked for key, asked in folder.gets if key == "birds/big.bin") == ranges
    assert (path / "big.bin").read_bytes() == big.read_bytes()
    folder.refresh()
    assert folder.gets == []


def test_an_object_that_changes_between_its_pieces_is_fetched_again(folder):
    first, second = (os.urandom(LARGE + 1000) for _ in range(2))
    folder.put({"big.bin": first})

    def change(number, key):
        if number == len(SMALL) + 2:
            folder.put({"big.bin": second})

    path = folder.refresh(change)
    assert (path / "big.bin").read_bytes() == second


def test_an_object_that_changes_while_it_is_read_is_fetched_again(folder):
    changes = iter([b"second", b"third"])

    def change(_, key):
        if key == "birds/jay/3.png" and (data := next(changes, None)):
            folder.put({"jay/3.png": data})

    path = folder.refresh(change)
    assert content(path) == SMALL | {"jay/3.png": b"third"}
    folder.refresh()
    assert folder.gets == []


def test_an_object_that_keeps_changing_is_an_error_that_names_it_and_loses_nothing(folder):
    def change(number, key):
        if key == "birds/jay/3.png":
            folder.put({"jay/3.png": str(number).encode()})

    with pytest.raises(StorageError, match=r"the object 'jay/3.png' changed each time while it was read; run again"):
        folder.refresh(change)
    path = folder.refresh()
    assert "jay/3.png" in folder.fetched
    assert set(content(path)) == set(SMALL)


def test_an_object_that_is_removed_meanwhile_is_no_error(folder):
    path = folder.refresh(lambda _, key: folder.store.delete("birds/jay/3.png"))
    assert "finch/0.png" in content(path)
    assert "jay/3.png" not in content(folder.refresh())


class Garbled:
    """A client of boto3 that hands on other bytes than the server sent."""

    def __init__(self, api, times, more):
        self.api, self.left, self.more = api, times, more

    def __getattr__(self, name):
        return getattr(self.api, name)

    def get_object(self, **asked):
        answer = self.api.get_object(**asked)
        if asked["Key"] == "birds/jay/3.png" and self.left:
            self.left -= 1
            data = answer["Body"].read()
            answer["Body"] = type("Body", (), {"read": lambda self: b"?" + data[1:]})()
        return answer | self.more


def garbled(folder, times, **more):
    api = Garbled(folder.store.client.api, times, more)
    return Mirror.open(replace(folder.store.client, api=api), folder.location, folder.cache)


def test_bytes_that_are_not_those_of_the_etag_are_asked_for_again(folder):
    with pytest.raises(StorageError, match=r"the object 'jay/3.png' does not arrive as its ETag says"):
        garbled(folder, 9).refresh(ignore)
    assert content(garbled(folder, 2).refresh(ignore)) == SMALL


def test_an_etag_of_a_key_of_kms_says_nothing_of_the_bytes(folder):
    path = garbled(folder, 1, ServerSideEncryption="aws:kms").refresh(ignore)
    assert (path / "jay/3.png").read_bytes() == b"?" + SMALL["jay/3.png"][1:]


@pytest.mark.parametrize("gets", [0, 5, len(SMALL) + 2])
def test_a_killed_download_continues(folder, gets, programs):
    big = os.urandom(3 * LARGE + 5)
    folder.put({"big.bin": big})
    call = [
        programs / "warm-python",
        "-m",
        "tests.storage.killed_mirror",
        folder.location.uri,
        str(folder.cache),
        str(gets),
    ]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = Mirror.open(folder.store.client, folder.location, folder.cache)
    assert not found.whole()
    path = folder.refresh()
    # Two streams: what was under way when the process died may have come and not been noted
    assert len(SMALL) + 4 - gets <= len(folder.gets) <= len(SMALL) + 4 - max(0, gets - 2)
    assert content(path) == SMALL | {"big.bin": big}
    assert found.whole()
    assert not (path.parent / "partial").exists()


def test_a_whole_copy_is_used_without_the_network(folder, alone):
    path = mirror(folder.location, folder.cache, workers=1, on_event=ignore)
    folder.put({"owl/0.png": b"new"})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        alone.delenv(name)
    assert local_copy(folder.location, folder.cache, workers=1, on_event=ignore) == path
    assert content(path) == SMALL
    (path / "jay/0.png").unlink()
    with pytest.raises(StorageError, match="no credentials"):
        local_copy(folder.location, folder.cache, workers=1, on_event=ignore)
    for name, value in folder.store.variables.items():
        alone.setenv(name, value)
    local_copy(folder.location, folder.cache, workers=1, on_event=ignore)
    assert content(path) == SMALL | {"owl/0.png": b"new"}


def test_runs_share_one_copy_and_wait_for_each_other(folder):
    waited, at_work, go_on = [], threading.Event(), threading.Event()

    def hold(number, key):
        at_work.set()
        assert go_on.wait(30)

    second = Counting(folder.store.client.api)
    other = Mirror.open(replace(folder.store.client, api=second), folder.location, folder.cache)

    def hear(event):
        waited.append(event)
        go_on.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(folder.refresh, hold)
        assert at_work.wait(30)
        later = pool.submit(other.refresh, hear)
        assert first.result() == later.result()
    assert [event.text for event in waited if isinstance(event, MessageEvent)] == [
        f"another run fetches {folder.location.uri}; waiting for it"
    ]
    assert second.gets == []


def test_the_folder_is_named_by_endpoint_bucket_and_prefix(store, tmp_path):
    def name(client, location):
        return Mirror.open(client, location, tmp_path).folder.name

    known = name(store.client, Location("data", "birds"))
    assert known == name(store.client, Location.parse("s3://data/birds/"))
    others = [
        name(store.client, Location("data", "bird")),
        name(store.client, Location("dat", "birds")),
        name(replace(store.client, endpoint="http://elsewhere"), Location("data", "birds")),
    ]
    assert len({known, *others}) == 4
    assert name(replace(store.client, endpoint="http://e"), Location("data", "birds")) == "data-a635e7d6acfda305"
