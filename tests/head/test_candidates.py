from types import SimpleNamespace

import pytest

from protoquant.head.candidates import _warn
from protoquant.head.config import TrainConfig


@pytest.mark.parametrize(
    ("iterations", "remedy"), [(9, "rounding allows no less, so raise that"), (10, "raise train.max_iterations")]
)
def test_a_fit_that_is_not_finished_says_what_would_help(iterations: int, remedy: str) -> None:
    config = TrainConfig.model_validate({"solver": "proximal", "budget": None, "max_iterations": 10})
    candidate = SimpleNamespace(
        temperature=0.1, penalty=0.5, residual=0.2, iterations=iterations, refit_residual=0.0, refit_iterations=3
    )
    events = []
    said = _warn(config, candidate, _warn(config, candidate, set(), events.append), events.append)
    (event,) = events
    assert said == {event.text}
    assert event.text.startswith(
        f"temperature 0.1, penalty 0.5: the head is 0.2 of its penalty from optimal after {iterations}"
    )
    assert event.text.endswith(f"(train.solver_tolerance); {remedy}")
