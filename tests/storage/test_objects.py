"""Single objects: absent, put once, replaced, in parts, and fetched whole or not at all."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
from botocore.exceptions import ClientError

from protoquant.core.artifacts import write_json
from protoquant.core.errors import StorageError, UsageError
from protoquant.features.store.shared_cache import SharedCache
from protoquant.storage.client import Client
from protoquant.storage.fetch import LARGE
from protoquant.storage.location import Location
from protoquant.storage.objects import ObjectFolder

pytestmark = pytest.mark.server

SMALL, OTHER = b"small", b"other"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(store):
    return ObjectFolder(store.client, store.location("cache")).below("key")


def test_what_is_not_there_is_nothing(folder, tmp_path):
    assert folder.read("entry.json") is None
    assert folder.fetch("shard", tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [5, LARGE, LARGE + 1, 2 * LARGE + 7])
def test_a_file_that_is_put_is_fetched_as_it_was(folder, tmp_path, size):
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    (tmp_path / "here").write_bytes(data)
    (tmp_path / "there").mkdir()
    assert folder.put("shard", tmp_path / "here", sha256(data)) == sha256(data)
    assert folder.fetch("shard", tmp_path / "there") == sha256(data)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["shard"]
    assert (tmp_path / "there" / "shard").read_bytes() == data


def test_an_object_lies_below_its_folders(folder, store):
    folder.put("entry.json", SMALL, sha256(SMALL))
    listed = store.client.api.list_objects_v2(Bucket=store.bucket)["Contents"]
    assert [one["Key"] for one in listed] == ["cache/key/entry.json"]


@pytest.mark.parametrize("size", [5, LARGE + 1])
def test_the_first_writer_stays_and_the_second_is_told_what_is_there(folder, tmp_path, size):
    first, second = b"1" * size, b"2" * size
    for name, data in (("first", first), ("second", second)):
        (tmp_path / name).write_bytes(data)
    assert folder.put("shard", tmp_path / "first", sha256(first)) == sha256(first)
    assert folder.put("shard", tmp_path / "second", sha256(second)) == sha256(first)
    assert folder.read("shard") == first
    assert folder.put("shard", tmp_path / "second", sha256(second), replace=True) == sha256(second)
    assert folder.read("shard") == second


def test_many_writers_at_once_agree_on_what_is_there(folder):
    contents = [bytes([number]) * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        told = set(pool.map(lambda data: folder.put("shard", data, sha256(data)), contents))
    assert told == {sha256(folder.read("shard"))}


def test_an_object_of_unknown_content_is_replaced(folder, store):
    store.put("cache/key/shard", b"by another program")
    assert folder.put("shard", SMALL, sha256(SMALL)) == sha256(SMALL)
    assert folder.read("shard") == SMALL


class Plain:
    """A client of a server that knows no conditions."""

    def __init__(self, api):
        self.api = api

    def __getattr__(self, name):
        return getattr(self.api, name)

    def put_object(self, **asked):
        if "IfNoneMatch" in asked:
            answer = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}
            raise ClientError(answer, "PutObject")
        return self.api.put_object(**asked)


def test_a_server_without_conditions_takes_the_last_writer(folder):
    plain = replace(folder, client=replace(folder.client, api=Plain(folder.client.api)))
    assert plain.put("shard", SMALL, sha256(SMALL)) == sha256(SMALL)
    assert plain.put("shard", OTHER, sha256(OTHER)) == sha256(OTHER)
    assert folder.read("shard") == OTHER


class Breaking:
    """A client whose second part of an upload is refused."""

    def __init__(self, api):
        self.api = api

    def __getattr__(self, name):
        return getattr(self.api, name)

    def upload_part(self, **asked):
        if asked["PartNumber"] == 2:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "no"}}, "UploadPart")
        return self.api.upload_part(**asked)


def test_an_upload_that_breaks_leaves_no_object_and_no_parts(folder, store, tmp_path):
    data = b"x" * (2 * LARGE + 1)
    (tmp_path / "shard").write_bytes(data)
    breaking = replace(folder, client=replace(folder.client, api=Breaking(folder.client.api)))
    with pytest.raises(StorageError, match="refused UploadPart: SlowDown"):
        breaking.put("shard", tmp_path / "shard", sha256(data))
    assert folder.read("shard") is None
    assert "Uploads" not in store.client.api.list_multipart_uploads(Bucket=store.bucket)


def test_bytes_that_do_not_arrive_as_the_etag_says_are_nothing(pretend, tmp_path):
    wrong = {"ETag": f'"{hashlib.md5(OTHER, usedforsecurity=False).hexdigest()}"'}
    pretend(lambda method, path: (200, wrong, SMALL.decode()))
    assert ObjectFolder.open(Location("data"), 1).fetch("shard", tmp_path) == ""
    assert not (tmp_path / "shard").exists()


def test_a_bucket_that_is_not_there_is_said(store):
    missing = ObjectFolder(store.client, replace(store.location(), bucket=store.bucket + "x"))
    for call in (lambda: missing.read("a"), lambda: missing.put("a", SMALL, sha256(SMALL))):
        with pytest.raises(UsageError, match="no bucket"):
            call()


def test_a_shared_feature_cache_with_a_wrong_secret_is_one_warning(store, alone, tmp_path):
    alone.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    told = []
    cache = SharedCache(partial(ObjectFolder.open, store.location("cache"), 1), told.append)
    write_json(tmp_path / "entry.json", {"digest": sha256(SMALL)})
    (tmp_path / "shard.safetensors").write_bytes(SMALL)
    for key in ("one", "two"):
        assert not cache.fetch(key, tmp_path, patient=False)
        cache.publish(key, tmp_path, patient=False)
    (event,) = told
    assert event.text == (
        f"shared feature cache: {store.location('cache').uri}: the secret key does not fit the access key at "
        f"{store.client.endpoint}; set AWS_SECRET_ACCESS_KEY; going on without it"
    )


def test_an_answer_without_a_reason_names_the_keys_too(store, alone, tmp_path):
    alone.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    said = rf"access denied at {store.client.endpoint}; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are wrong, or ask"
    with pytest.raises(StorageError, match=said):
        ObjectFolder.open(store.location("cache"), 1).fetch("shard", tmp_path)


class Busy:
    """A client whose server says that another writer is at it, or has been; then the other's object is there."""

    def __init__(self, status):
        self.status = status

    def put_object(self, **_):
        raise ClientError({"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": self.status}}, "PutObject")

    def head_object(self, **_):
        return {"Metadata": {"sha256": sha256(OTHER)}}


@pytest.mark.parametrize("status", [409, 412])
def test_a_writer_that_meets_another_is_told_what_is_there(status):
    client = Client(Busy(status), "http://memory", "here", 2)
    assert ObjectFolder(client, Location("data")).put("shard", SMALL, sha256(SMALL)) == sha256(OTHER)
