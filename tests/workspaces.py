"""Small workspaces, driven as a user drives them; the trained one is made once for a whole test run."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from ruamel.yaml import YAML

from protoquant.settings.params_file import override

ROOT = Path(__file__).parents[1]
SMALL = {"classes": 4, "train": 4, "validation": 2, "test": 2}
"""Of the partbirds spec: images of each kind."""
FAST = {
    "quantize.size": 5,
    "quantize.seeding_epochs": 4,
    "train.budget.sizes": [1, 2],
    "train.joint.epochs": 2,
    "evaluate.resamples": 100,
    "evaluate.stability_images": 2,
}
_OURS = ("protoquant", "flows", "data", "presets", "dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config")
_PLACES = {
    "runs": "artifact_uri",
    "experiments": "artifact_location",
    "model_versions": "storage_location",
    "logged_models": "artifact_location",
}
"""Columns of MLflow's database that hold an absolute path."""


class Job:
    """A workspace in a repository of its own, driven as a user drives it: by commands and by editing files."""

    def __init__(self, root: Path, programs: Path) -> None:
        """Take a folder.

        Args:
            root: The workspace.
            programs: Head of its commands' PATH.
        """
        self.root, self.programs = root, programs
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "DVC_NO_ANALYTICS": "1"}
        ours = ("DEVICE", "WORKERS", "FEATURE_CACHE")
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "RAY_ADDRESS", *(f"PROTOQUANT_{name}" for name in ours)):
            self.environment.pop(name, None)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the workspace."""
        done = subprocess.run(words, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def set(self, key: str, value: object) -> None:
        """Change one value of params.yaml."""
        section, _, name = key.partition(".")
        self._edit("params.yaml", {name: value}, section)

    def lock(self) -> bytes:
        """The bytes of dvc.lock."""
        return (self.root / "dvc.lock").read_bytes()

    def spec(self, **values: int) -> None:
        """Change the partbirds spec."""
        self._edit("data/partbirds.yaml", values)

    def _edit(self, file: str, values: dict[str, object] | dict[str, int], section: str | None = None) -> None:
        yaml = YAML()
        content = yaml.load((self.root / file).read_text())
        (content[section] if section else content).update(values)
        with (self.root / file).open("w") as out:
            yaml.dump(content, out)


def small_clone(root: Path, programs: Path) -> Job:
    """A committed copy of the sources with a small spec and short training, in a repository of its own."""
    for name in _OURS:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    job = Job(root, programs)
    job.spec(**SMALL)
    override(root / "params.yaml", FAST, source="a test")
    job.run("git", "init", "-q")
    job.run("git", "add", "-A")
    job.run("git", "-c", "user.name=n", "-c", "user.email=e@e", "commit", "-q", "-m", "start")
    return job


@dataclass(frozen=True)
class Trained:
    """The trained workspace and what it was when it was made."""

    root: Path
    digest: str

    def check(self) -> None:
        """Fail where a test has altered it."""
        assert digest_of(self.root) == self.digest, "a test altered the shared workspace; it must alter a copy"


def train_once(folder: Path, programs: Path) -> Trained:
    """The pipeline run once, by whichever process of the test run comes first; the others wait for it."""
    root, digest = folder / "trained" / "clone", folder / "trained" / "digest"
    with FileLock(folder / "trained.lock"):
        if not digest.exists():
            small_clone(root, programs).run("dvc", "repro")
            digest.write_text(digest_of(root))
    return Trained(root, digest.read_text())


def digest_of(root: Path) -> str:
    """Of every file's name, content and place."""
    found = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(root)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return found.hexdigest()


def copy_of(trained: Path, root: Path, programs: Path) -> Job:
    """A workspace with all that is in another, its registry too, that shares no file with it."""
    shutil.copytree(trained, root, symlinks=True)
    with closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        for table, column in _PLACES.items():
            database.execute(f"update {table} set {column} = replace({column}, ?, ?)", (str(trained), str(root)))  # noqa: S608
    return Job(root, programs)


def stages_that_ran(output: str) -> list[str]:
    """The stages that DVC says it ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
