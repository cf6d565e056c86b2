"""A workspace that a test drives as a user does: by commands and by editing files."""

import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML


class Job:
    """A workspace in a repository of its own, driven as a user drives it: by commands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "DVC_NO_ANALYTICS": "1"}
        ours = ("DEVICE", "WORKERS", "FEATURE_CACHE")
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", *(f"PROTOQUANT_{name}" for name in ours)):
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

    def _edit(self, file: str, values: dict[str, object], section: str | None = None) -> None:
        yaml = YAML()
        content = yaml.load((self.root / file).read_text())
        (content[section] if section else content).update(values)
        with (self.root / file).open("w") as out:
            yaml.dump(content, out)


def stages_that_ran(output: str) -> list[str]:
    """The stages that DVC says it ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
