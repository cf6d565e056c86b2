"""Whoever changes a deployment on the server has no code run by it."""

from pathlib import Path
from typing import Any

import pytest

from tests.flows.served import Served

pytestmark = pytest.mark.server

_FOREIGN = """
from pathlib import Path
from prefect import flow
Path({canary!r}).touch()
@flow
def experiment(params: dict = {{}}):
    pass
"""


def changes(kind: str, folder: Path) -> dict[str, Any]:
    """What a stranger would have a deployment name, so that a run leaves ``canary`` in a folder."""
    canary = folder / "canary"
    (folder / "foreign.py").write_text(_FOREIGN.format(canary=str(canary)))
    shell = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {canary}"}}
    return {
        "pull_steps": {"pull_steps": [shell]},
        "entrypoint": {"entrypoint": f"{folder}/foreign.py:experiment"},
        "path": {"path": str(folder), "entrypoint": "foreign.py:experiment"},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "named"), [("pull_steps", "pull_steps"), ("entrypoint", "entrypoint"), ("path", "entrypoint, path")]
)
def test_a_changed_deployment_runs_nothing_and_says_so(served: Served, kind: str, named: str, tmp_path: Path) -> None:
    path = f"deployments/{served.deployment('experiment')}"
    before = served.ask("GET", path).json()
    served.ask("PATCH", path, json=changes(kind, tmp_path)).raise_for_status()
    try:
        name, message = served.end(str(served.post({}).json()["id"]))  # all parameters left to their defaults
    finally:
        own = {key: before[key] for key in ("pull_steps", "entrypoint", "path")}
        served.ask("PATCH", path, json=own | {"pull_steps": own["pull_steps"] or []}).raise_for_status()
    assert not (tmp_path / "canary").exists()
    assert name == "Failed"
    assert f"was changed on the server ({named}), so nothing was run" in message
