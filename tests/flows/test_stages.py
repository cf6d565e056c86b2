"""Which failures of a task are tried again."""

from typing import Any, cast

from prefect.states import Completed, Crashed, Failed

from flows.stages import PASSING, _may_pass


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    unused = cast("Any", None)
    states = [Failed(name=PASSING, message="no answer"), Failed(message="the data is bad"), Crashed(), Completed()]
    assert [_may_pass(unused, unused, state) for state in states] == [True, False, False, False]
