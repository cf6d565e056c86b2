"""Ray is joined or refused in one line, and asked for what it has."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from protoquant.core.errors import UnavailableError, UsageError
from protoquant.core.machine.cores import WAITING
from protoquant.distributed.cluster import ADDRESS_VARIABLE, Cluster, joined


def test_a_request_that_no_node_can_meet_is_refused_at_once() -> None:
    cluster = Cluster("10.0.0.1:6379", [{"CPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}])
    cluster.require("sweep.cpus and sweep.gpus", cpus=2, gpus=0)
    cluster.require("sweep.cpus and sweep.gpus", cpus=1, gpus=0.5)
    with pytest.raises(UsageError, match=r"2 CPUs and 0.5 GPUs in one process, no node .* \(there: 2 CPUs and 0 GPUs"):
        cluster.require("sweep.cpus and sweep.gpus", cpus=2, gpus=0.5)
    assert (cluster.total("CPU"), cluster.total("TPU")) == (3.0, 0.0)


@pytest.mark.parametrize("address", ["here", "host:", "host:99999", ":6379"])
def test_an_address_that_is_none_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, address)
    with pytest.raises(UsageError, match="RAY_ADDRESS must be HOST:PORT of a Ray head, or local"), joined():
        pass


def test_an_address_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv(ADDRESS_VARIABLE, f"127.0.0.1:{port}")
    with pytest.raises(UnavailableError, match=rf"no Ray at 127.0.0.1:{port} \(Connection refused\)"), joined():
        pass


@pytest.mark.server
def test_this_machine_is_a_cluster_of_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    import ray

    with joined() as cluster:
        assert (cluster.address, len(cluster.nodes)) == ("local", 1)
        assert ray.get(ray.remote(lambda: 2).remote()) == 2
    assert not ray.is_initialized()


@pytest.mark.server
def test_processes_elsewhere_wait_as_those_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray.cluster_utils import Cluster as Elsewhere

    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    elsewhere = Elsewhere(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    monkeypatch.setenv(ADDRESS_VARIABLE, elsewhere.address)
    try:
        with joined():
            waits = ray.remote(lambda: {name: os.environ[name] for name in WAITING if name in os.environ})
            assert ray.get(waits.remote()) == {"OMP_WAIT_POLICY": "PASSIVE"}
    finally:
        elsewhere.shutdown()


@pytest.mark.server
def test_a_long_name_of_the_temporary_folder_is_no_hindrance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    (long := tmp_path / ("x" * 100)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    before = set(Path("/tmp").glob("ray-*"))
    with joined() as cluster:
        assert cluster.total("CPU") >= 1
    assert set(Path("/tmp").glob("ray-*")) <= before
