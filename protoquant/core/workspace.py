"""The path of every artifact in a workspace; the outs of dvc.yaml are the same paths."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """A folder that holds params.yaml and, after a run, ``artifacts/``."""

    root: Path

    @property
    def params(self) -> Path:
        """The file with every setting that changes a result."""
        return self.root / "params.yaml"

    @property
    def presets(self) -> Path:
        """Files with whole sections of params.yaml, by kind."""
        return self.root / "presets"

    @property
    def lock(self) -> Path:
        """DVC's record of the last run of each stage."""
        return self.root / "dvc.lock"

    @property
    def code(self) -> Path:
        """Written by code: a file for each stage that names everything its step imports."""
        return self.root / "artifacts" / "code"

    @property
    def images(self) -> Path:
        """Written by prepare: the table of images, classes and splits."""
        return self.root / "artifacts" / "images"

    @property
    def parts(self) -> Path:
        """Written by prepare: the part annotations of the images."""
        return self.root / "artifacts" / "parts"

    @property
    def features(self) -> Path:
        """Written by extract: one feature store per split."""
        return self.root / "artifacts" / "features"

    @property
    def codebook(self) -> Path:
        """Written by quantize: the codes and the linear probe."""
        return self.root / "artifacts" / "codebook"

    @property
    def bundle(self) -> Path:
        """Written by train: the model."""
        return self.root / "artifacts" / "bundle"

    @property
    def evaluation(self) -> Path:
        """Written by evaluate: test predictions, contributions and curves."""
        return self.root / "artifacts" / "evaluation"

    @property
    def metrics(self) -> Path:
        """Written by evaluate: the test numbers, kept by Git."""
        return self.root / "artifacts" / "metrics.json"

    @property
    def report(self) -> Path:
        """Written by visualize: the report."""
        return self.root / "artifacts" / "report"

    @property
    def sweeps(self) -> Path:
        """Written by sweeps: a folder for each sweep."""
        return self.root / "artifacts" / "sweeps"

    @property
    def feature_cache(self) -> Path:
        """Finished feature shards."""
        return self.shared / "features"

    @property
    def object_cache(self) -> Path:
        """Local copies of objects in S3."""
        return self.shared / "objects"

    @property
    def runs(self) -> Path:
        """The worktree of each isolated run."""
        return self.shared / "runs"

    @property
    def pending(self) -> Path:
        """Runs that wait for an unavailable tracking server."""
        return self.shared / "pending"

    @cached_property
    def shared(self) -> Path:
        """The folder that all worktrees of the repository share.

        It lies below the git common directory, or is ``.protoquant/`` if there is no repository.
        """
        from protoquant.core.git import GitError, git  # imported here: --help needs paths, but not git

        try:
            common = git(self.root, "rev-parse", "--path-format=absolute", "--git-common-dir")
        except (FileNotFoundError, GitError):
            return self.root / ".protoquant"
        return Path(os.fsdecode(common).strip()) / "protoquant"
