"""Device and workers come from the environment, seeds and paths from the workspace."""

import subprocess
from pathlib import Path

import pytest
import torch

from protoquant.core.errors import UsageError, suggest
from protoquant.core.runtime import Runtime
from protoquant.core.seeding import derive_seed, numpy_generator, torch_generator
from protoquant.core.workspace import Workspace


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOQUANT_DEVICE", "cuda:99")
    with pytest.raises(UsageError, match="PROTOQUANT_DEVICE: cuda:99 is not there"):
        Runtime.from_environment().torch_device(1)


def test_gpus_are_counted_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Runtime(device="cuda").torch_device() == torch.device("cuda")
    assert Runtime(device="cuda:0").torch_device() == torch.device("cuda:0")
    with pytest.raises(UsageError, match="PROTOQUANT_DEVICE: cuda:1 is not there"):
        Runtime(device="cuda:1").torch_device()


def test_a_gpu_computes_in_whole_float32_by_one_algorithm() -> None:
    switches = [
        (torch.backends.cuda.matmul, "allow_tf32"),
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cudnn, "benchmark"),
    ]
    for backend, name in switches:
        setattr(backend, name, True)
    Runtime(device="cpu").torch_device()
    assert [getattr(backend, name) for backend, name in switches] == [False] * 3


def test_an_impossible_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOQUANT_WORKERS", "0")
    with pytest.raises(UsageError, match=r"PROTOQUANT_WORKERS: .* greater than or equal to 1, got '0'"):
        Runtime.from_environment()


def test_the_shared_cache_is_a_location_in_s3_or_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROTOQUANT_FEATURE_CACHE", raising=False)
    assert Runtime.from_environment().feature_cache is None
    for value, read in {"": None, "s3://team/features": "s3://team/features"}.items():
        monkeypatch.setenv("PROTOQUANT_FEATURE_CACHE", value)
        assert Runtime.from_environment().feature_cache == read
    for value in ("/disk/features", "s3:/team/features", "s3://", "S3://team", "https://team/features"):
        monkeypatch.setenv("PROTOQUANT_FEATURE_CACHE", value)
        with pytest.raises(UsageError, match=f"^PROTOQUANT_FEATURE_CACHE: must be s3://bucket/prefix.*'{value}'$"):
            Runtime.from_environment()


def test_threads_are_set_for_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTOQUANT_DEVICE", "cpu")
    before = torch.get_num_threads()
    try:
        assert Runtime.from_environment().torch_device(3) == torch.device("cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_streams_are_named_and_independent() -> None:
    assert derive_seed(0, "a", 1) == derive_seed(0, "a", 1)
    assert len({derive_seed(seed, *names) for seed in (0, 1) for names in [("a",), ("b",), ("a", 1), ("a1",)]}) == 8
    assert numpy_generator(0, "x").random() == numpy_generator(0, "x").random()
    assert torch.rand(1, generator=torch_generator(0, "x")) == torch.rand(1, generator=torch_generator(0, "x"))


@pytest.mark.process
def test_the_feature_cache_is_shared_by_worktrees(tmp_path: Path) -> None:
    assert Workspace(tmp_path).feature_cache == tmp_path / ".protoquant" / "features"
    for call in (
        ["git", "init", "-q", "main"],
        ["git", "-C", "main", "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "m"],
        ["git", "-C", "main", "worktree", "add", "-q", "../other"],
    ):
        subprocess.run(call, cwd=tmp_path, check=True)
    shared = tmp_path / "main" / ".git" / "protoquant" / "features"
    assert Workspace(tmp_path / "main").feature_cache == Workspace(tmp_path / "other").feature_cache == shared


def test_the_nearest_name_is_suggested_only_when_near() -> None:
    assert suggest("quantise", ["quantize", "train"]) == "; did you mean 'quantize'?"
    assert suggest("zzz", ["quantize", "train"]) == ""
