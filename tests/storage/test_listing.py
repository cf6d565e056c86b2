from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from protoquant.core.errors import StorageError, UsageError
from protoquant.storage.listing import RemoteObject, check_reachable, list_objects

pytestmark = pytest.mark.server


def test_all_pages_of_a_folder_and_nothing_beside_it(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"birds/{number % 7}/{number}.png", b"x"), range(1005)))
    store.put("birdsong/1.wav", b"y")
    found = list_objects(store.client, store.location("birds"))
    assert sorted(item.name for item in found) == sorted(f"{number % 7}/{number}.png" for number in range(1005))
    assert {item.size for item in found} == {1}
    assert {item.etag for item in found} == {"9dd4e461268c8034f5c8564e155c67a6"}  # md5 of x


def test_folder_keys_are_passed_over_and_names_are_kept_as_they_are(store):
    store.put("d/", b"")
    store.put("d/robin/", b"")
    store.put("d/robin/Ü 1+%20.png", b"x")
    assert [item.name for item in list_objects(store.client, store.location("d"))] == ["robin/Ü 1+%20.png"]


def test_the_nearest_folder_is_named_where_there_is_nothing(store):
    store.put("sets/birds/1.png", b"x")
    store.put("sets/table.csv", b"x")
    for ask in (list_objects, check_reachable):
        with pytest.raises(UsageError, match=r"no objects below s3://.*/sets/brids; did you mean 'birds'\?"):
            ask(store.client, store.location("sets/brids"))
        with pytest.raises(UsageError, match=r"sets/table.csv is one object, not a folder"):
            ask(store.client, store.location("sets/table.csv"))
        with pytest.raises(UsageError, match=r"no objects below s3://.*/other; correct"):
            ask(store.client, store.location("other"))
    check_reachable(store.client, store.location("sets"))


class Pages:
    """An S3 that holds these keys; the real server of these tests would not take them."""

    def __init__(self, *keys):
        self.contents = [{"Key": key, "ETag": '"e"', "Size": 1} for key in keys]

    def get_paginator(self, _):
        return self

    def paginate(self, **_):
        return iter([{"Contents": self.contents, "IsTruncated": False}])


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("d/../../etc/passwd", "is no path below a folder; rename"),
        ("d//etc/passwd", "is no path below a folder; rename"),
        ("d/./x", "is no path below a folder; rename"),
        ("d/a\\..\\b", "is no path below a folder; rename"),
        ("d/a\0b", "is no path below a folder; rename"),
        ("d/" + 300 * "x", "is too long for a file; rename"),
        ("d/good/x", "'good' is an object and also the folder of 'good/x'"),
    ],
)
def test_a_key_that_is_no_path_below_the_folder_is_refused(store, key, said):
    client = replace(store.client, api=Pages("d/good", key))
    with pytest.raises(StorageError) as caught:
        list_objects(client, store.location("d"))
    assert said in str(caught.value)


def test_keys_that_differ_by_case_are_two(store):
    found = list_objects(replace(store.client, api=Pages("d/A", "d/a")), store.location("d"))
    assert found == [RemoteObject("A", "e", 1), RemoteObject("a", "e", 1)]
