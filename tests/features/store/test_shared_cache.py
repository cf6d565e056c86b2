"""The shared cache on a real S3 server: found by others, healed, never in the way."""

import json
import os
import signal
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest
import torch

from protoquant.core.artifacts import artifact_digest, load_tensors
from protoquant.core.errors import StorageError, UnavailableError, UsageError
from protoquant.core.events import MessageEvent, ignore
from protoquant.distributed import executor
from protoquant.features.store import shards
from protoquant.features.store.cache import FeatureCache
from protoquant.features.store.shards import ShardWorker
from protoquant.features.store.shared_cache import SharedCache, _Patience
from protoquant.storage.buckets import init_bucket
from protoquant.storage.objects import ObjectFolder
from tests.builders.backbones import RESNET
from tests.features.test_extract import as_before
from tests.features.test_extract import run as run_extract
from tests.servers import READER, free_ports

pytestmark = pytest.mark.server

KEY = "a1" * 32
TOKENS = torch.arange(24, dtype=torch.float16).reshape(2, 3, 4)
SHARDS = 6


@pytest.fixture(autouse=True)
def _as_a_user(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setattr("protoquant.distributed.cluster.cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shared(store):
    return partial(ObjectFolder.open, store.location("features"), 1)


@pytest.fixture
def config(tmp_path):
    return RESNET.config(tmp_path, batch=4, shard=4)


@pytest.fixture
def away(alone):
    """Opens a store that does not answer."""
    from protoquant.storage.location import Location

    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    for name, value in {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        alone.setenv(name, value)
    alone.setenv("AWS_MAX_ATTEMPTS", "1")
    return partial(ObjectFolder.open, Location("data", "features"), 1)


def run(config, photos, shared, **options):
    """The result and what was said."""
    said = []
    result = run_extract(config, photos, shared=shared, on_event=said.append, **options)
    return result, [event for event in said if isinstance(event, MessageEvent)]


def warnings(said):
    """Of the cache; that the small images of these tests are enlarged is not its affair."""
    texts = [event.text for event in said if event.level == "warning"]
    return [text for text in texts if not text.startswith("extract: images are enlarged")]


def keys(store):
    listed = store.client.api.list_objects_v2(Bucket=store.bucket).get("Contents", ())
    return sorted(one["Key"] for one in listed)


def versions(store):
    return store.client.api.list_object_versions(Bucket=store.bucket)["Versions"]


def never():
    raise AssertionError("computed again")


def test_a_second_clone_computes_nothing(photos, config, store, shared):
    first, said = run(config, photos, shared)
    assert (first.computed, first.linked, first.fetched) == (SHARDS, 0, 0)
    names = {Path(key).name for key in keys(store)}
    assert (len(keys(store)), names) == (2 * SHARDS, {"shard.safetensors", "entry.json"})
    assert {key.split("/")[0] for key in keys(store)} == {"features"}
    second, said = run(config, photos, shared, out="second", cache="second-cache")
    assert (second.computed, second.linked, second.fetched) == (0, SHARDS, SHARDS)
    assert "0 shards computed, 6 linked from the cache, 6 of them fetched from the shared one; " in said[-1].text
    assert artifact_digest(second.out) == artifact_digest(first.out)
    third, said = run(config, photos, None, out="third", cache="second-cache")
    assert (third.computed, third.linked, third.fetched) == (0, SHARDS, 0)


def test_what_version_0_1_0_uploaded_is_fetched(photos, config, shared, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shards, "shard_keys", as_before)
        first, _ = run(config, photos, shared)
    again, _ = run(config, photos, shared, out="again", cache="second-cache")
    assert (again.computed, again.fetched, artifact_digest(again.out)) == (0, SHARDS, artifact_digest(first.out))


def test_what_was_there_before_the_shared_cache_is_uploaded_once(photos, config, store, shared):
    init_bucket(store.client, store.bucket, abort_days=7, old_days=90)
    run(config, photos, None)
    assert keys(store) == []
    again, _ = run(config, photos, shared)
    assert (again.computed, again.fetched, len(keys(store))) == (0, 0, 2 * SHARDS)
    run(config, photos, shared, cache="other")
    run(config, photos, shared)
    assert len(versions(store)) == len(keys(store)) == 2 * SHARDS


@pytest.mark.parametrize(
    "damage",
    [
        lambda store, shard, entry: store.put(shard, b"not what was written"),
        lambda store, shard, entry: store.delete(shard),
        lambda store, shard, entry: store.put(entry, b"{"),
        lambda store, shard, entry: store.put(entry, b'{"schema": 1, "digest": "x", "backbone": "m", "images": 2}'),
    ],
    ids=["other bytes", "no shard", "no JSON", "no digest"],
)
def test_a_damaged_entry_is_said_computed_and_replaced(store, shared, tmp_path, damage):
    folder = f"features/{KEY}"
    FeatureCache(tmp_path / "one").shard(KEY, "m", lambda: {"tokens": TOKENS}, ignore, SharedCache(shared, ignore))
    damage(store, f"{folder}/shard.safetensors", f"{folder}/entry.json")
    said = []
    found = FeatureCache(tmp_path / "two").shard(
        KEY, "m", lambda: {"tokens": TOKENS}, said.append, SharedCache(shared, said.append)
    )
    assert (found.computed, found.fetched, found.unshared) == (True, False, "")
    assert warnings(said) == ["shared feature cache: shard a1a1a1a1a1a1 is damaged; computing it again, to replace it"]
    healed = FeatureCache(tmp_path / "three").shard(KEY, "m", never, never, SharedCache(shared, never))
    assert healed.fetched
    assert torch.equal(load_tensors(healed.path)["tokens"], TOKENS)
    assert healed.path.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("puts", [1, 2, 4])
def test_a_killed_upload_leaves_no_entry_and_the_next_run_ends_it(photos, config, store, shared, *, puts, programs):
    script, uri = str(Path(__file__).with_name("killed_upload.py")), store.location("features").uri
    call = [programs / "warm-python", script, str(photos[0].parent), config.model_dump_json(), uri, str(puts)]
    killed = subprocess.run(call, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    names = [Path(key).name for key in keys(store)]
    assert (names.count("shard.safetensors"), names.count("entry.json")) == (puts // 2, (puts - 1) // 2)
    rerun, said = run(config, photos, shared)
    assert (rerun.fetched, rerun.computed, warnings(said)) == ((puts - 1) // 2, SHARDS - (puts - 1) // 2, [])
    assert len(keys(store)) == 2 * SHARDS
    again, _ = run(config, photos, shared, cache="fresh", out="again")
    assert (again.computed, artifact_digest(again.out)) == (0, artifact_digest(rerun.out))


def test_the_entry_names_the_shard_that_is_there_where_another_machine_rounds_differently(store, shared, tmp_path):
    """The other machine was killed between its shard and its entry."""
    other = FeatureCache(tmp_path / "other")
    path = other.shard(KEY, "m", lambda: {"tokens": TOKENS + 1}, ignore).path
    digest = json.loads(path.with_name("entry.json").read_text())["digest"]
    shared().below(KEY).put("shard.safetensors", path, digest)
    here = FeatureCache(tmp_path / "here").shard(
        KEY, "m", lambda: {"tokens": TOKENS}, ignore, SharedCache(shared, ignore)
    )
    assert torch.equal(load_tensors(here.path)["tokens"], TOKENS)
    found = FeatureCache(tmp_path / "third").shard(KEY, "m", never, never, SharedCache(shared, never))
    assert torch.equal(load_tensors(found.path)["tokens"], TOKENS + 1)


def test_two_who_compute_a_shard_at_once_both_end_and_leave_one(store, shared, tmp_path):
    init_bucket(store.client, store.bucket, abort_days=7, old_days=90)
    both, found = threading.Barrier(2, timeout=30), []

    def compute():
        both.wait()
        return {"tokens": TOKENS}

    def work(name):
        found.append(FeatureCache(tmp_path / name).shard(KEY, "m", compute, ignore, SharedCache(shared, ignore)))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(shard.computed, shard.unshared) for shard in found] == [(True, "")] * 2
    assert len(versions(store)) == 2


def test_without_a_server_the_result_is_the_same_and_two_lines_say_so(photos, config, away):
    alone, _ = run(config, photos, None, out="alone", cache="alone-cache")
    result, said = run(config, photos, away)
    assert result.computed == SHARDS
    assert artifact_digest(result.out) == artifact_digest(alone.out)
    url = os.environ["AWS_ENDPOINT_URL"]
    silent = f"S3 does not answer at {url}; start the server, or correct AWS_ENDPOINT_URL"
    assert warnings(said) == [
        f"shared feature cache: {silent}; going on without it",
        "shared feature cache: 6 of 6 shards could not be uploaded; protoquant extract tries it again",
    ]


def test_who_may_only_read_finds_what_is_there_and_is_told_of_the_rest(photos, config, store, shared, alone):
    run(config, photos, shared)
    gone = keys(store)[:2]
    for key in gone:
        store.delete(key)
    for name, value in READER.items():
        alone.setenv(name, value)
    result, said = run(config, photos, shared, cache="second-cache", out="second")
    assert (result.computed, result.fetched) == (1, SHARDS - 1)
    refused, counted = warnings(said)
    assert "ask the owner of the bucket for the permission s3:PutObject; going on without it" in refused
    assert ": access denied at " in refused
    assert "1 of 6 shards could not be uploaded" in counted


class Flaky:
    """A folder of objects that is away for its first requests."""

    def __init__(self, folder, failures):
        self.folder, self.failures = folder, failures

    def below(self, name):
        return _Failing(self, self.folder.below(name))


class _Failing:
    def __init__(self, owner, folder):
        self.owner, self.folder = owner, folder

    def __getattr__(self, name):
        if self.owner.failures:
            self.owner.failures -= 1
            raise StorageError("S3 is away")
        return getattr(self.folder, name)


def test_what_an_outage_kept_back_is_uploaded_at_the_end(photos, config, store, shared):
    result, said = run(config, photos, lambda: Flaky(shared(), 4))
    assert result.computed == SHARDS
    assert warnings(said) == ["shared feature cache: S3 is away; going on without it"]
    assert len(keys(store)) == 2 * SHARDS


def test_a_store_that_fails_again_and_again_is_asked_ever_less():
    patience, asked = _Patience(), []
    for number in range(40):
        if patience.asks():
            asked.append(number)
            patience.failed("away")
    assert asked == [0, 2, 6, 14, 30]
    patience.succeeded()
    assert patience.asks()


def made_apart(make):
    """Make a worker with a cache folder of its own, as on a disk that no other sees."""
    cache = make.keywords["cache"]
    return make.func(**{**make.keywords, "cache": cache.with_name(f"{cache.name}-{os.getpid()}")})


@pytest.fixture
def disks_apart(monkeypatch):
    again = ShardWorker.again.fget
    monkeypatch.setattr(ShardWorker, "again", property(lambda worker: partial(made_apart, again(worker))))


@pytest.mark.usefixtures("disks_apart")
def test_processes_without_a_common_disk_meet_in_the_shared_cache(photos, config, store, shared):
    init_bucket(store.client, store.bucket, abort_days=7, old_days=90)
    alone, _ = run(config, photos, None, out="alone", cache="alone-cache")
    result, said = run(config, photos, shared, processes=2)
    assert (result.computed, result.linked, warnings(said)) == (SHARDS, 0, [])
    assert artifact_digest(result.out) == artifact_digest(alone.out)
    elsewhere = photos[0].parent.glob("cache-*/*/entry.json")  # of two disks, or of one where one process was quicker
    assert len(list(elsewhere)) == SHARDS
    assert len(list((photos[0].parent / "cache").glob("*/entry.json"))) == SHARDS
    assert len(versions(store)) == 2 * SHARDS
    again, said = run(config, photos, shared, processes=2, cache="third-cache", out="third")
    assert (again.computed, again.fetched) == (0, SHARDS)
    assert not [event for event in said if "jobs for" in event.text]


@pytest.fixture
def run_here(monkeypatch, disks_apart):
    """Another process that is this one, with a cache folder of its own."""

    def run_jobs(make, jobs, **_):
        work = make()
        return [work(job) for job in jobs]

    monkeypatch.setattr(executor, "run_on_ray", run_jobs)


@pytest.mark.usefixtures("run_here")
def test_an_outage_at_the_start_does_not_keep_the_driver_from_what_is_there_at_the_end(photos, config, shared):
    flaky = Flaky(shared(), 2)
    result, said = run(config.model_copy(update={"shard": 8}), photos, lambda: flaky, processes=2)
    assert (flaky.failures, result.computed) == (0, 4)
    assert warnings(said) == ["shared feature cache: S3 is away; going on without it"]


@pytest.mark.usefixtures("run_here")
def test_a_process_uploads_what_an_outage_kept_back_before_it_is_missed(photos, config, shared, store):
    fine, flaky = shared(), Flaky(shared(), 3)
    opened = iter([fine, flaky])  # of the driver, of the process: two failed fetches and one failed upload
    result, said = run(config, photos, lambda: next(opened), processes=2)
    assert (flaky.failures, result.computed, len(keys(store))) == (0, SHARDS, 2 * SHARDS)
    assert warnings(said) == ["shared feature cache: S3 is away; going on without it"]


@pytest.mark.usefixtures("run_here")
def test_without_a_common_disk_and_a_shared_cache_there_is_no_result(photos, config, away):
    with pytest.raises(UsageError, match=r"that this one does not see; .* set PROTOQUANT_FEATURE_CACHE=s3://"):
        run(config, photos, None, processes=2)
    with pytest.raises(UnavailableError, match=r"does not give \(S3 does not answer at .*run extract again"):
        run(config, photos, away, processes=2)


def test_the_verb_reads_the_environment_before_any_work(tmp_path, programs):
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    done = subprocess.run(
        [programs / "protoquant", "extract"],
        cwd=tmp_path,
        env=os.environ | {"PROTOQUANT_FEATURE_CACHE": "s3://My_Bucket/p"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = "PROTOQUANT_FEATURE_CACHE 's3://My_Bucket/p': a bucket name has 3 to 63 small letters"
    assert (done.returncode, said in done.stderr, done.stderr.strip().count("\n")) == (2, True, 0), done.stderr
