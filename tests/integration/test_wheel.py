"""The pipeline without a checkout: a folder of params.yaml, dvc.yaml and data, and the package from a wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from protoquant.core.artifacts import artifact_digest
from protoquant.core.workspace import Workspace
from protoquant.settings.params_file import override
from tests.workspaces import FAST, ROOT, SMALL, Job, stages_that_ran

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of imports that holds the package as its wheel has it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "protoquant", folder / "protoquant", ignore=shutil.ignore_patterns("__pycache__"))
    words = [
        Path(sys.executable).with_name("uv"),
        "build",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
    ]
    subprocess.run([*words, folder], check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def birds(installed: Path, programs: Path, tmp_path: Path) -> Job:
    """The three things that a user brings."""
    job = Job(tmp_path / "birds", programs)
    job.environment["PYTHONPATH"] = str(installed)
    (job.root / "data").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "data/partbirds.yaml"):
        shutil.copy(ROOT / name, job.root / name)
    job.spec(**SMALL)
    override(job.root / "params.yaml", FAST, source="a test")
    return job


def test_without_git_the_pipeline_makes_the_model_of_a_checkout(birds: Job, trained: Path) -> None:
    birds.run("dvc", "init", "--quiet", "--no-scm")
    birds.run("dvc", "repro")
    assert artifact_digest(Workspace(birds.root).bundle) == artifact_digest(Workspace(trained).bundle)
    assert stages_that_ran(birds.run("dvc", "repro").stdout) == ["code", "register"]


def test_git_sees_nothing_of_what_stages_write(birds: Job) -> None:
    birds.run("git", "init", "-q")
    birds.run("dvc", "init", "--quiet")
    birds.run("dvc", "repro", "prepare")
    new = birds.run("git", "status", "--porcelain", "--untracked-files=all").stdout.splitlines()
    files = {line[3:] for line in new if not line[3:].startswith(".dvc")}
    assert files == {"params.yaml", "dvc.yaml", "dvc.lock", "data/partbirds.yaml", "artifacts/.gitignore"}
