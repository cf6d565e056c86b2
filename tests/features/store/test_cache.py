import errno
import os
import shutil
import threading
import time

import pytest
import torch

from protoquant.core.artifacts import load_tensors, read_json, write_json
from protoquant.core.errors import ArtifactError
from protoquant.core.events import ignore
from protoquant.features.store import cache as module
from protoquant.features.store.cache import FeatureCache, link

KEY, OTHER = "a1" * 32, "b2" * 32
TOKENS = torch.arange(24, dtype=torch.float16).reshape(2, 3, 4)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


def fill(cache, key=KEY, tokens=TOKENS):
    return cache.shard(key, "test_resnet", lambda: {"tokens": tokens}, ignore)


def never():
    raise AssertionError("computed again")


def flip_a_bit(path):
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def make_it_of_another_schema(path):
    entry = path.with_name("entry.json")
    entry.chmod(0o644)
    write_json(entry, read_json(entry) | {"schema": 0})


def test_a_shard_is_computed_once_and_read_only(cache):
    first = fill(cache)
    again = cache.shard(KEY, "test_resnet", never, ignore)
    assert (first.computed, again.computed) == (True, False)
    assert again.path == first.path
    assert torch.equal(load_tensors(again.path)["tokens"], TOKENS)
    assert again.path.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        make_it_of_another_schema,
        lambda path: path.unlink(),
        lambda path: (path.parent / "entry.json").unlink(),
    ],
)
def test_a_damaged_shard_is_dropped_said_and_computed_again(cache, damage):
    damage(fill(cache).path)
    said = []
    again = cache.shard(KEY, "test_resnet", lambda: {"tokens": TOKENS}, said.append)
    assert again.computed
    assert torch.equal(load_tensors(again.path)["tokens"], TOKENS)
    assert [(event.text, event.level) for event in said] == [
        ("feature cache: shard a1a1a1a1a1a1 is damaged; dropped, computing it again", "warning")
    ]


def test_a_failed_computation_leaves_nothing_under_the_key(cache):
    with pytest.raises(ZeroDivisionError):
        cache.shard(KEY, "test_resnet", lambda: 1 / 0, ignore)
    assert cache.entries() == []
    assert fill(cache).computed


def test_half_an_entry_of_a_killed_process_is_neither_used_nor_kept(cache):
    half = cache.root / f"{KEY}.partial"
    half.mkdir(parents=True)
    (half / "shard.safetensors").write_bytes(b"half")
    assert cache.entries() == []
    assert fill(cache).computed
    assert not half.exists()


def test_two_who_want_one_shard_compute_it_once(cache):
    begun, go = threading.Event(), threading.Event()
    found = []

    def slow():
        begun.set()
        assert go.wait(20)
        return {"tokens": TOKENS}

    one = threading.Thread(target=lambda: found.append(cache.shard(KEY, "m", slow, ignore)))
    two = threading.Thread(target=lambda: found.append(cache.shard(KEY, "m", never, ignore)))
    one.start()
    assert begun.wait(20)
    two.start()
    go.set()
    one.join(20)
    two.join(20)
    assert sorted(shard.computed for shard in found) == [False, True]


def test_entries_are_listed_the_longest_unused_first(cache):
    fill(cache)
    fill(cache, OTHER, TOKENS[:1])
    used = time.time() - 1000
    os.utime(cache.root / OTHER, (used, used))
    old, new = cache.entries()
    assert (old.key, old.backbone, old.images) == (OTHER, "test_resnet", 1)
    assert (new.key, new.images, new.size) == (KEY, 2, (cache.root / KEY / "shard.safetensors").stat().st_size)
    assert 990 < old.age < 1100
    assert new.age < 100
    cache.shard(OTHER, "test_resnet", never, ignore)
    assert max(entry.age for entry in cache.entries()) < 100


def test_pruning_by_age_and_by_size(cache):
    for number in range(4):
        key = f"{number}" * 64
        fill(cache, key)
        used = time.time() - 1000 * (4 - number)
        os.utime(cache.root / key, (used, used))
    size = cache.entries()[0].size
    assert cache.prune() == []
    assert [entry.key[0] for entry in cache.prune(max_age=3500)] == ["0"]
    assert [entry.key[0] for entry in cache.prune(max_bytes=2 * size + 1)] == ["1"]
    assert cache.prune(max_bytes=2 * size) == []
    assert [entry.key[0] for entry in cache.entries()] == ["2", "3"]
    assert len(cache.prune(max_bytes=0)) == 2
    assert cache.entries() == []


def test_pruning_spares_what_is_being_computed_and_clears_what_was_killed(cache):
    dead = cache.root / f"{OTHER}.partial"
    dead.mkdir(parents=True)

    def compute():
        (cache.root / f"{KEY}.partial").mkdir()
        cache.prune(max_bytes=0)
        assert (cache.root / f"{KEY}.partial").exists()
        return {"tokens": TOKENS}

    assert cache.shard(KEY, "test_resnet", compute, ignore).computed
    assert not dead.exists()
    assert len(cache.entries()) == 1


def test_an_entry_that_another_process_has_removed_meanwhile_counts_as_removed(cache, monkeypatch):
    fill(cache)
    listed = cache.entries()
    monkeypatch.setattr(type(cache), "entries", lambda _: listed)
    assert cache.prune(max_bytes=0) == cache.prune(max_bytes=0) == listed


def test_an_absent_cache_is_empty(cache):
    assert cache.entries() == []
    assert cache.prune(max_bytes=0) == []


def test_a_link_is_the_same_file_or_the_same_blocks_and_survives_pruning(cache, tmp_path):
    shard = fill(cache)
    link(shard.path, tmp_path / "linked")
    cache.prune(max_bytes=0)
    assert torch.equal(load_tensors(tmp_path / "linked")["tokens"], TOKENS)
    with pytest.raises(ArtifactError, match="was removed from the feature cache"):
        link(shard.path, tmp_path / "late")


def test_across_file_systems_a_link_is_a_copy(cache, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(module.Path, "hardlink_to", refuse)
    monkeypatch.setattr(module.fcntl, "ioctl", refuse)
    shard = fill(cache)
    link(shard.path, tmp_path / "copied")
    assert (tmp_path / "copied").stat().st_mode & 0o777 == 0o444
    shutil.rmtree(cache.root)
    assert torch.equal(load_tensors(tmp_path / "copied")["tokens"], TOKENS)
