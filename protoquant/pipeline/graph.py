"""Reads DVC's graph of stages: which stages there are, and in which order they run."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from protoquant.core.errors import UsageError, one_line


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: Its name in dvc.yaml.
        upstream: The stages whose outputs it reads.
    """

    name: str
    upstream: tuple[str, ...]


def stages(root: Path) -> tuple[Stage, ...]:
    """Read the stages of a workspace, each after those that it depends on.

    Args:
        root: The folder of dvc.yaml.

    Raises:
        UsageError: The folder is not a DVC project, or its dvc.yaml is not valid.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph
            # Names, not addresses: an address is relative to the folder of this process.
            upstream = {
                stage.name: tuple(sorted(other.name for other in graph.successors(stage)))
                for stage in repo.index.stages
                if getattr(stage, "cmd", None)
            }
    except DvcException as error:
        reason = one_line(error)
        raise UsageError(f"DVC cannot read the pipeline of {root}: {reason}") from error
    known = {name: [other for other in others if other in upstream] for name, others in upstream.items()}
    return tuple(Stage(name, tuple(known[name])) for name in TopologicalSorter(known).static_order())
