"""Makes a run that no runner takes say why on its page, by an automation on the server, where our code cannot run."""

from typing import cast

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

_NAME = "protoquant: a run without a runner says so"
_MESSAGE = "No runner takes this run; start one in the clone: make serve"


def tell_late_runs(deployment_ids: list[str]) -> None:
    """Let the server give late runs of our deployments a state that names the reason; they start once a runner can.

    Args:
        deployment_ids: Ids of the deployments.
    """
    related = {
        "prefect.resource.role": "deployment",
        "prefect.resource.id": [f"prefect.deployment.{one}" for one in deployment_ids],
    }
    automation = Automation(
        name=_NAME,
        description="Made by flows/serve.py",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Late"}, match_related=related, posture=Posture.Reactive, threshold=1
        ),
        # The name must not be Late, which would trigger the automation again.
        actions=[ChangeFlowRunState(name="Waiting", state=StateType.SCHEDULED, message=_MESSAGE)],
    )
    try:
        there = cast("Automation", Automation.read(name=_NAME))  # a coroutine only inside an event loop
    except ValueError:
        automation.create()
        return
    automation.id = there.id
    automation.update()
