"""Jobs on processes of Ray: in order, again where a process died, errors of their own class."""

from collections.abc import Callable
from pathlib import Path

import pytest

from protoquant.core.errors import DataError, ProtoQuantError, UsageError
from protoquant.core.events import ignore
from protoquant.distributed.executor import run_on_ray
from tests.distributed.jobs import Job, broken, maker

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("two_processes")]


def run(
    names: list[str], folder: Path, make: Callable[[], Callable[[Job], str]] = maker
) -> tuple[list[str], list[str]]:
    told: list[str] = []
    jobs = [(name, folder) for name in names]
    found = run_on_ray(make, jobs, processes=2, gpus=0.0, on_done=lambda job: told.append(job[0]), on_event=ignore)
    return found, told


def test_results_are_in_order_and_a_job_whose_process_died_is_done_again(tmp_path: Path) -> None:
    names = ["a", "die once", "b", "c", "d"]
    found, told = run(names, tmp_path)
    assert [answer.partition(" by ")[0] for answer in found] == names
    assert sorted(told) == sorted(names)
    assert found[1] != f"die once by {(tmp_path / 'died').read_text()}"


@pytest.mark.parametrize(
    ("names", "make", "kind", "sentence"),
    [
        (["a", "fail", "b"], maker, DataError, "^robin.png changed since prepare$"),
        (["a", "die always"], maker, ProtoQuantError, "a process died 3 times with job 2 of 2"),
        (["a"], broken, DataError, "^no weights here$"),
    ],
)
def test_what_goes_wrong_is_one_line(
    tmp_path: Path, names: list[str], make: Callable[[], Callable[[Job], str]], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        run(names, tmp_path, make)


def test_more_processes_than_there_is_room_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"PROTOQUANT_PROCESSES must be at most 2, .* got 5"):
        run_on_ray(maker, [("a", tmp_path)] * 9, processes=5, gpus=0.0, on_done=lambda _: None, on_event=ignore)
