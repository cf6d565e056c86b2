"""Whose dead runs are looked for, and which runs are dead."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows import recovery
from flows.recovery import DEPLOYMENTS
from protoquant.core.workspace import Workspace
from protoquant.pipeline.isolated_run import run_name
from protoquant.pipeline.lease import lease
from tests.flows.served import Served


@pytest.mark.process
def test_a_run_is_gone_where_its_folder_is_here_and_no_process_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "CLONE", tmp_path)

    def is_gone(seconds: float = 3600) -> bool:
        state = SimpleNamespace(timestamp=datetime.now(UTC) - timedelta(seconds=seconds))
        return recovery._is_gone(cast("Any", SimpleNamespace(name="mighty otter", id="01a2b3c4-x", state=state)))

    assert not is_gone(), "a run of another clone"
    folder = Workspace(tmp_path).runs / run_name("mighty otter", "01a2b3c4-x")
    with lease(folder):
        assert not is_gone(), "a run that works"
    assert is_gone()
    assert not is_gone(seconds=5), "a run that may not hold its folder yet"


@pytest.mark.server
def test_the_dead_runs_of_every_flow_that_is_offered_are_looked_for(served: Served) -> None:
    offered = served.ask("POST", "deployments/filter", json={}).json()
    assert {one["name"] for one in offered} == set(DEPLOYMENTS)
