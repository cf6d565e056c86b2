"""Whose dead runs are looked for."""

import pytest

from flows.recovery import DEPLOYMENTS
from tests.flows.served import Served

pytestmark = pytest.mark.server


def test_the_dead_runs_of_every_flow_that_is_offered_are_looked_for(served: Served) -> None:
    offered = served.ask("POST", "deployments/filter", json={}).json()
    assert {one["name"] for one in offered} == set(DEPLOYMENTS)
