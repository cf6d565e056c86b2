"""Two nodes of Ray on one machine: a sweep and an extraction use both, and lose one in the middle."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from protoquant.core.artifacts import artifact_digest
from protoquant.core.workspace import Workspace
from protoquant.settings.params_file import override
from tests.flows.served import wait_for
from tests.sweep.conftest import sweep_workspace
from tests.sweep.test_sweep import numbers, records, runs
from tests.workspaces import Job

pytestmark = pytest.mark.server

_SOON = 300  # seconds


@pytest.fixture(scope="module")
def job(trained: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A small workspace."""
    return sweep_workspace(trained, tmp_path_factory.mktemp("nodes") / "clone", programs)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head and a second node, a processor each."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


def begin(job: Job, cluster: Cluster, *words: str, **variables: str) -> "subprocess.Popen[str]":
    """Start a command that joins the cluster."""
    environment = job.environment | {"RAY_ADDRESS": cluster.address} | variables
    return subprocess.Popen(words, cwd=job.root, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_sweep_loses_a_node_and_ends_with_the_numbers_of_an_undisturbed_one(job: Job, cluster: Cluster) -> None:
    override(job.root / "params.yaml", {"sweep.cpus": 1.0}, source="a test")
    job.run("protoquant", "sweep", "run", "alone")
    second = cluster.add_node(num_cpus=1)
    driver = begin(job, cluster, "protoquant", "sweep", "run", "two-nodes")
    wait_for(lambda: records(job, "two-nodes"), "a first trial", _SOON)
    cluster.remove_node(second, allow_graceful=False)
    _, said = driver.communicate(timeout=_SOON)
    assert driver.returncode == 0, said
    assert "2 at once on 2 nodes" in said
    assert numbers(job, "two-nodes") == numbers(job, "alone")
    assert runs(job, "two-nodes") == ("FINISHED", Counter(FINISHED=4))


def test_an_extraction_loses_a_node_and_ends_with_the_same_bytes(job: Job, cluster: Cluster) -> None:
    job.spec(classes=4, train=96, validation=8, test=8)
    override(job.root / "params.yaml", {"extract.shard": 32}, source="a test")
    job.run("protoquant", "prepare")
    job.run("protoquant", "extract")
    alone = artifact_digest(job.root / "artifacts" / "features")
    second = cluster.add_node(num_cpus=1)
    cache = Workspace(job.root).feature_cache
    shutil.rmtree(cache)
    driver = begin(job, cluster, "protoquant", "extract", PROTOQUANT_PROCESSES="2")
    wait_for(lambda: list(cache.glob("*/entry.json")), "a first shard", _SOON)
    cluster.remove_node(second, allow_graceful=False)
    _, said = driver.communicate(timeout=_SOON)
    assert driver.returncode == 0, said
    assert "for 2 processes on 2 nodes" in said
    assert artifact_digest(job.root / "artifacts" / "features") == alone
