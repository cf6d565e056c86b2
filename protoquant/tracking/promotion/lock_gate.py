"""The gate ``lock``, which checks that the dvc.lock of a version is in a commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from protoquant.core.errors import ArtifactError
from protoquant.core.git import git_answer
from protoquant.core.workspace import Workspace
from protoquant.tracking.promotion.gates import OFF, Gate
from protoquant.tracking.runs.lineage import NONE, lock_digest_of

_COMMITS = 500
"""Number of commits that are searched: the newest that changed dvc.lock, on all branches and experiments."""
_SHOWN = 12


def lock_gate(tags: Mapping[str, str], workspace: Workspace, *, on: bool) -> Gate:
    """Look for the commit that holds the dvc.lock of a version.

    During ``dvc repro`` dvc.lock is not yet committed, so the tag ``git_dirty`` of a version tells little; its tag
    ``lock_digest`` identifies the content, which a later commit may hold. DVC's experiments count as commits.

    Args:
        tags: Tags of the version.
        workspace: A workspace in the repository to search.
        on: Whether the gate is on.
    """
    if not on:
        return Gate("lock", None, OFF)
    wanted, commit = tags.get("lock_digest", NONE), tags.get("git_commit", NONE)
    if wanted == NONE:
        return Gate("lock", False, "the version was made without DVC, so no dvc.lock says how; make it by dvc repro")
    for candidate in _commits(workspace.root, commit):
        if _digest_at(workspace, candidate) == wanted:
            return Gate("lock", True, f"its dvc.lock is that of commit {candidate[:_SHOWN]}")
    if tags.get("git_dirty") == "false" and commit != NONE and not _is_known(workspace.root, commit):
        said = f"registered from commit {commit[:_SHOWN]} with nothing changed; this repository has no such commit"
        return Gate("lock", True, said)
    said = (
        "its dvc.lock is in no commit of this repository; commit it where the version was made "
        "(git add dvc.lock params.yaml; git commit), or git fetch, then promote again"
    )
    return Gate("lock", False, said)


def _commits(root: Path, first: str) -> Iterator[str]:
    if first != NONE:
        yield first
    found = git_answer(
        root, "log", "--all", "--full-history", f"--max-count={_COMMITS}", "--format=%H", "--", "dvc.lock"
    )
    yield from (found or b"").decode().split()


def _digest_at(workspace: Workspace, commit: str) -> str | None:
    held = git_answer(workspace.root, "show", "--end-of-options", f"{commit}:./{workspace.lock.name}")
    if held is None:
        return None
    try:
        return lock_digest_of(held, workspace.lock)
    except ArtifactError:
        return None


def _is_known(root: Path, commit: str) -> bool:
    return git_answer(root, "cat-file", "-e", "--end-of-options", f"{commit}^{{commit}}") is not None
