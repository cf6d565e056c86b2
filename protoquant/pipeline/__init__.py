"""Runs the pipeline: DVC's graph, a stage as a process, isolated workspaces; only this package imports dvc."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.pipeline.isolated_run import IsolatedRun as IsolatedRun
    from protoquant.pipeline.isolated_run import RunSpec as RunSpec

__getattr__, __dir__, __all__ = lazily(__name__, IsolatedRun="isolated_run", RunSpec="isolated_run")
