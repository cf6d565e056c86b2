"""Runs of the pipeline: DVC's graph, a stage as a process, isolated workspaces; the only dvc imports."""
