"""The lineage of a model: code, data, weights and the pipeline's own record of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from protoquant.core.artifacts import artifact_digest, digest_json
from protoquant.core.errors import ArtifactError
from protoquant.core.git import git_answer
from protoquant.core.packages import package_versions
from protoquant.core.workspace import Workspace

NONE = "none"
_RECORDED = ("numpy", "pillow", "protoquant", "safetensors", "scipy", "timm", "torch")


@dataclass(frozen=True)
class Lineage:
    """The lineage that tags a run and a model version; digests are SHA-256, ``none`` where there is nothing.

    Attributes:
        git_commit: Commit of the workspace.
        git_dirty: ``true`` where a tracked file differs from that commit, else ``false``.
        data_digest: Digest of the manifest of ``artifacts/images``.
        weight_digest: Digest of the backbone's weights.
        bundle_digest: Digest of the bundle's manifest; it names the model.
        evaluation_digest: Digest of the test numbers.
        lock_digest: Digest of the upstream entries of dvc.lock.
        packages: Version of each package that a result depends on.
    """

    git_commit: str
    git_dirty: str
    data_digest: str
    weight_digest: str
    bundle_digest: str
    evaluation_digest: str
    lock_digest: str
    packages: Mapping[str, str]

    def tags(self) -> dict[str, str]:
        """The lineage as MLflow tags, without the packages."""
        return {name: value for name, value in vars(self).items() if isinstance(value, str)}


def lineage(workspace: Workspace, *, weight_digest: str) -> Lineage:
    """Collect the lineage of the model in a workspace.

    Args:
        workspace: A workspace in which the six stages before ``register`` have run.
        weight_digest: Digest of the backbone's weights, as the bundle records it.

    Raises:
        ArtifactError: An artifact is missing, or dvc.lock is damaged.
    """
    commit, dirty = git_state(workspace.root)
    return Lineage(
        git_commit=commit,
        git_dirty=dirty,
        data_digest=artifact_digest(workspace.images),
        weight_digest=weight_digest,
        bundle_digest=artifact_digest(workspace.bundle),
        evaluation_digest=artifact_digest(workspace.evaluation),
        lock_digest=lock_digest(workspace.lock),
        packages=package_versions(_RECORDED),
    )


def git_state(root: Path) -> tuple[str, str]:
    """Find the commit of a folder and whether a tracked file has changed since.

    Untracked files do not count, as with ``git describe --dirty``.

    Returns:
        The commit and ``true`` or ``false``; ``none`` twice outside git and before the first commit.
    """
    commit = git_answer(root, "rev-parse", "--verify", "HEAD")
    status = git_answer(root, "status", "--porcelain", "--untracked-files=no")
    if commit is None or status is None:
        return NONE, NONE
    return commit.decode().strip(), "true" if status.strip() else "false"


def lock_digest(lock: Path) -> str:
    """Digest the entries of dvc.lock for every stage but ``code``, which only reads, and ``register``.

    Only the content counts, not the order or layout of the file.

    Returns:
        A digest, or ``none`` where there is no dvc.lock because the steps ran without DVC.

    Raises:
        ArtifactError: The file is not the YAML that DVC writes.
    """
    return lock_digest_of(lock.read_bytes(), lock) if lock.is_file() else NONE


def lock_digest_of(held: bytes, lock: Path) -> str:
    """Digest the content of a dvc.lock as :func:`lock_digest` does.

    Args:
        held: The bytes of the file.
        lock: The path that an error names.

    Raises:
        ArtifactError: The content is not the YAML that DVC writes.
    """
    try:
        content = YAML(typ="safe").load(held)
        stages = dict(content["stages"])
    except (YAMLError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{lock} is damaged: no stages in it; restore it from git or run dvc repro") from error
    for name in ("code", "register"):
        stages.pop(name, None)
    return digest_json(stages) if stages else NONE
