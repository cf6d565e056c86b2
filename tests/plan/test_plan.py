"""The verb as a user runs it, and what does not fit."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from protoquant.codebook.config import QuantizeConfig
from protoquant.core.machine.disk import gigabytes
from protoquant.core.workspace import Workspace
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.config import ExtractConfig
from protoquant.head.config import TrainConfig
from protoquant.plan import plan as module
from protoquant.plan.plan import Machine, missing
from protoquant.plan.sizes import DatasetCounts, Shape, Sizes
from tests.workspaces import small_clone

SIZES = Sizes(
    k=20,
    features={"train": 90 * 10**9},
    shards=9,
    scores=20 * 10**9,
    mapped=True,
    codebook=1,
    head=1,
    memory={"extract": 10**9, "train": 12 * 10**9},
)
ROOM = Machine(disk=200 * 10**9, memory=16 * 10**9, cores=8)
COUNTS = ["--images", "1231167", "--validation", "50000", "--test", "50000", "--classes", "1000"]


def test_what_fits_misses_nothing():
    assert missing(SIZES, ROOM) == ()


def test_a_disk_that_is_too_small_is_named_with_what_would_help():
    (line,) = missing(SIZES, replace(ROOM, disk=100 * 10**9))
    assert line.startswith("disk: 111 GB are needed for features and scores, 100 GB are free; take another disk")
    assert missing(SIZES, replace(ROOM, disk=100 * 10**9), held=80 * 10**9) == ()


def test_features_that_are_here_already_make_no_room_for_scores():
    (line,) = missing(SIZES, replace(ROOM, disk=10 * 10**9), held=500 * 10**9)
    assert line.startswith("disk: 21 GB are needed for features and scores, 10 GB are free")
    assert missing(replace(SIZES, mapped=False), replace(ROOM, disk=2 * 10**9), held=500 * 10**9) == ()


def test_images_to_measure_on_are_spread_over_all(monkeypatch, tmp_path):
    table = SimpleNamespace(split=lambda _: range(10), classes=("finch", "jay"))
    monkeypatch.setattr(module, "ImageTable", SimpleNamespace(open=lambda *_: table))
    monkeypatch.setattr(module, "sources_of", list)
    monkeypatch.setattr(module, "_SAMPLE", 3)
    counts, photos = module._prepared(Workspace(tmp_path), tmp_path)
    assert (counts.train, counts.classes, photos) == (10, 2, [0, 3, 6])


def test_memory_that_is_too_small_names_the_stage():
    (line,) = missing(SIZES, replace(ROOM, memory=8 * 10**9))
    assert line.startswith("memory: train holds about 12 GB, 8.0 GB are free")


def test_sizes_in_words():
    assert [gigabytes(size) for size in (5e3, 2.44e6, 373e6, 96.4e9, 1.5e12)] == [
        "5 kB",
        "2.4 MB",
        "373 MB",
        "96 GB",
        "1.5 TB",
    ]


# Shares 25 MB: 7.25 or 6 copies; two batches of directions 19, those of all images and a copy 301, patches and codes
# 42 or 26 times 6.1, heads 6, scores 20, and the process 629 MB.
@pytest.mark.parametrize(("device", "needed"), [("cpu", "1.4 GB"), ("cuda", "657 MB")])
def test_joint_training_that_is_too_large_for_its_device_is_told_as_train_does(monkeypatch, device, needed):
    monkeypatch.setattr(module, "free_memory", lambda _: 5 * 10**8)
    counts, shape = DatasetCounts(1_000, 100, 100, 100), Shape((LayerShape("last", (7, 7), 768),))
    settings = SimpleNamespace(train=TrainConfig(), quantize=QuantizeConfig(size=20), extract=ExtractConfig())
    sizes = replace(SIZES, k=2_000, scores=20 * 10**6, mapped=False)
    line = module._joint_training(settings, counts, shape, sizes, torch.device(device))
    assert line is not None
    assert line.startswith("train.joint.batch is 64 (params.yaml), and with 2,000 codes on 49 cells")
    assert f"needs about {needed} of memory, 500 MB are free" in line


@pytest.fixture(scope="module")
def job(tmp_path_factory, programs):
    return small_clone(tmp_path_factory.mktemp("plan") / "clone", programs)


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.process
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "error: no images are prepared here"),
        ([*COUNTS, "--nodes", "2"], "error: --nodes and --processes change times, which --seconds 0 leaves out"),
        (COUNTS[:4], "error: give all of --images, --validation, --test and --classes, or none of them"),
    ],
)
def test_what_it_cannot_know_it_asks_for(job, options, sentence):
    done = job.run("protoquant", "plan", "--seconds", "0", *options, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


@pytest.mark.process
def test_a_plan_for_images_that_are_not_here(job):
    done = job.run("protoquant", "plan", "--seconds", "0", "--json", *COUNTS, check=False)
    found = json.loads(done.stdout)
    assert (found["shape"]["grid"], found["shape"]["d"]) == ([14, 14], 112 + 1280)
    assert found["sizes"]["store"] == (2 * 1_231_167 + 100_000) * (196 * 112 + 49 * 1280) * 2
    assert found["sizes"]["k"] == 5_000
    assert (found["rates"], found["times"], found["shared"]) == (None, [], {})
    if found["missing"]:
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {found['missing'][0]}")


@pytest.mark.process
def test_a_plan_for_prepared_images_measures_and_writes_nothing(job):
    job.run("protoquant", "prepare")
    before = files(job.root)
    held = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
    done = job.run(*held, "protoquant", "plan", "--seconds", "1", "--nodes", "2", "--processes", "4")
    assert files(job.root) == before
    assert done.stderr.count("warning: threads is 2 (params.yaml), and this process may use 1 core: ") == 1
    assert "memory; 1 core " in done.stdout
    assert done.stdout.startswith("16 train, 8 validation, 8 test images of 4 classes; 14 x 14 cells of 112 numbers")
    for word in ("extract", "quantize", "train", "2 x 4", "Measured on 16 prepared images"):
        assert word in done.stdout
