"""Runs the pipeline with its own parameters in its own worktree, apart from the user's files and from other runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from protoquant.core.artifacts import read_json, write_json
from protoquant.core.errors import ArtifactError, UsageError
from protoquant.core.workspace import Workspace
from protoquant.pipeline import tree
from protoquant.pipeline.clone_edits import Choice, apply_edits, commit, edits
from protoquant.pipeline.environment import environment_of
from protoquant.pipeline.lease import lease
from protoquant.pipeline.linked_inputs import link_inputs
from protoquant.pipeline.process import OnLine, run
from protoquant.pipeline.stage import Outcome, Status, run_command, run_stage
from protoquant.settings.params_file import override
from protoquant.settings.roots import check_root
from protoquant.settings.settings import Settings

_RECORD = "run.json"
_LONGEST_NAME = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class RunSpec:
    """The description of an isolated run.

    Attributes:
        name: Name of the run, of its folder and of the DVC experiment that records it.
        changes: Values by dotted key that replace those of params.yaml.
        revision: Branch, tag or commit to run.
        uncommitted: How to treat the clone's uncommitted edits.
        note: Text kept beside the run for later readers.
    """

    name: str
    changes: Mapping[str, Any]
    revision: str = "HEAD"
    uncommitted: Choice = "refuse"
    note: str = ""

    def __post_init__(self) -> None:
        """Check the name, which becomes a folder and a word of a command."""
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"a run's name has letters, digits, _, . and -, and begins with a letter or digit, got {self.name!r}"
            )


@dataclass(frozen=True)
class IsolatedRun:
    """An open run: its folder is leased, and its worktree exists and holds the parameters.

    Attributes:
        plan: Its description.
        folder: Its folder below :attr:`Workspace.runs`.
        clone: The clone it comes from.
        root: Root of its worktree.
        held: The open lease.
        continued: Whether an earlier run of the same name left the worktree.
    """

    plan: RunSpec
    folder: Path
    clone: Path
    root: Path
    held: int
    continued: bool

    @property
    def workspace(self) -> Workspace:
        """The worktree as a workspace."""
        return Workspace(self.root)

    @property
    def settings(self) -> Settings:
        """The settings in its params.yaml."""
        return Settings.load(self.workspace.params)

    def call(self, *command: str, on_line: OnLine) -> int:
        """Run a command in the worktree, with its code and environment, and return its exit code."""
        return run(
            command,
            cwd=self.root,
            environment=environment_of(self.root, self.clone),
            on_line=on_line,
            hold=(self.held,),
        )

    def stage(self, name: str, on_line: OnLine) -> Outcome:
        """Run one stage."""
        environment = environment_of(self.root, self.clone)
        return run_stage(self.root, name, environment=environment, on_line=on_line, hold=(self.held,))

    def record(self, on_line: OnLine) -> Outcome:
        """Save the run as a DVC experiment of its name, replacing an older one.

        All worktrees share the references of experiments, and two writers at once would corrupt them, so runs take
        turns.
        """
        words = ("dvc", "--wait-for-lock", "exp", "save", "--force", f"--name={self.plan.name}")
        environment = environment_of(self.root, self.clone)
        with FileLock(self.workspace.shared / "experiments.lock"):
            outcome = run_command(words, self.root, environment=environment, on_line=on_line, hold=(self.held,))
        return replace(outcome, passing=outcome.status is Status.FAILED)

    def discard(self) -> None:
        """Remove the run's folder; its results stay in DVC's cache, the experiment and the registered models."""
        with trees(self.clone):
            tree.remove(self.clone, self.folder)


@contextmanager
def isolated(clone: Path, plan: RunSpec) -> Iterator[IsolatedRun]:
    """Open an isolated run, or reopen the one of the same name where it stopped.

    Args:
        clone: A clone with DVC; only its ``.git`` folder and DVC's cache are written to.
        plan: What to run.

    Yields:
        The run, leased until the block ends.

    Raises:
        UsageError: The revision is unknown, or uncommitted edits are refused. ConfigError: A key or value is
            impossible.
        UnavailableError: Another process is using the run of this name.
    """
    folder = Workspace(clone).runs / plan.name
    with lease(folder) as held:
        root = tree.place(folder, clone)
        continued = _finished(folder, root)
        if not continued:
            base = commit(clone, plan.revision)
            patch = edits(clone, base, plan.uncommitted)
            with trees(clone):
                tree.remove(clone, folder / tree.TREE)
                tree.add(clone, root, base)
            apply_edits(root, patch)
            made = IsolatedRun(plan, folder, clone, root, held, continued=False)
            _fill(made)
            write_json(folder / _RECORD, {"commit": base, "changes": dict(plan.changes), "note": plan.note})
        yield IsolatedRun(plan, folder, clone, root, held, continued)


def run_name(title: str, identity: str) -> str:
    """Build a unique name for a run that git, DVC and file systems accept.

    Args:
        title: The name that people use.
        identity: A unique id; its first part becomes the end of the name.
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")[:_LONGEST_NAME]
    return f"{plain or 'run'}-{identity.partition('-')[0]}"


def _fill(made: IsolatedRun) -> None:
    """Add to the worktree what git does not hold: parameters, finished outputs and images."""
    params = made.workspace.params
    if made.plan.changes:
        override(params, made.plan.changes, source="the run's parameters")
    settings = Settings.load(params)
    said: list[str] = []
    made.call("dvc", "--quiet", "checkout", "--force", "--allow-missing", on_line=said.append)
    link_inputs(settings, clone=made.clone, folder=made.folder)
    check_root(settings.prepare, made.workspace)


def _finished(folder: Path, root: Path) -> bool:
    """Return whether an earlier run of this name left a worktree with its parameters."""
    try:
        read_json(folder / _RECORD)
    except (ArtifactError, OSError):
        return False
    return root.is_dir()


@contextmanager
def trees(clone: Path) -> Iterator[None]:
    """Hold the lock for adding and removing worktrees, since git keeps one list of them."""
    shared = Workspace(clone).shared
    shared.mkdir(parents=True, exist_ok=True)
    with FileLock(shared / "worktrees.lock"):
        yield
