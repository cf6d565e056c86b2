from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from protoquant.core.errors import ProtoQuantError, UnavailableError, UsageError
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.mlflow_api import MlflowException
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.promotion.registry_lock import STALE, Clock, promoting
from protoquant.tracking.registry.registry import LOCK_TAG, find_named, model_names

pytestmark = pytest.mark.server

NAME = "birds.promotion"


@pytest.fixture
def store(with_store: Workspace) -> Iterator[Store]:
    with open_store(with_store, create=False) as opened:
        opened.client.create_registered_model("birds")
        yield opened


class Time:
    """A clock that only waiting moves."""

    def __init__(self, start: float) -> None:
        self.at, self.waited = start, 0.0

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.waited += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.at, self.sleep, patience=30.0, pause=0.5)


def left_behind(store: Store, by: str = "dead") -> float:
    """The lock of a process that was killed; returns when it was made."""
    store.client.create_registered_model(NAME, tags={LOCK_TAG: by})
    return store.client.get_registered_model(NAME).creation_timestamp / 1000


def locks(store: Store) -> list[str]:
    return [model.name for model in store.client.search_registered_models() if LOCK_TAG in model.tags]


def test_the_lock_is_there_inside_the_block_and_gone_after_it_also_after_an_error(store: Store) -> None:
    with promoting(store, "birds") as held:
        held.check()
        assert locks(store) == [NAME]
        assert model_names(store) == ["birds"]
        with pytest.raises(UsageError, match=r"no registered model 'birds\.promotion' .*; registered: birds$"):
            find_named(store, NAME, version=1)
    assert locks(store) == []
    with pytest.raises(KeyError), promoting(store, "birds"):
        raise KeyError
    assert locks(store) == []


def test_one_at_a_time(store: Store) -> None:
    inside, most = [], []

    def work(number: int) -> None:
        with promoting(store, "birds", Clock(pause=0.01)) as held:
            inside.append(number)
            most.append(len(inside))
            held.check()
            inside.remove(number)

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, range(4)))
    assert most == [1, 1, 1, 1]
    assert locks(store) == []


def test_a_lock_that_is_held_is_waited_for_and_then_told_of(store: Store) -> None:
    time = Time(left_behind(store) + 60)
    told = r"another promotion of birds is under way \(since 20\d\d-.* UTC\); try again"
    with pytest.raises(UnavailableError, match=told), promoting(store, "birds", time.clock()):
        pass
    assert 30.0 <= time.waited <= 30.5
    assert locks(store) == [NAME]


def test_a_lock_that_is_released_while_it_is_waited_for_is_taken(store: Store) -> None:
    time = Time(left_behind(store))

    def sleep(seconds: float) -> None:
        store.client.delete_registered_model(NAME)

    with promoting(store, "birds", Clock(lambda: time.at, sleep)):
        assert locks(store) == [NAME]


def test_a_lock_that_is_left_behind_is_taken_over_after_a_quarter_of_an_hour(store: Store) -> None:
    time = Time(left_behind(store) + STALE - 20)
    with promoting(store, "birds", time.clock()) as held:
        held.check()
    assert 20.0 < time.waited <= 20.5
    assert locks(store) == []


def test_whoever_lost_the_lock_notices_before_it_moves_anything_and_leaves_the_others_alone(store: Store) -> None:
    with promoting(store, "birds") as held:
        late = Time(store.client.get_registered_model(NAME).creation_timestamp / 1000 + STALE + 1)
        with promoting(store, "birds", late.clock()) as other:
            other.check()
            with pytest.raises(UnavailableError, match=r"another process took over birds\.promotion"):
                held.check()
        left_behind(store, "third")
    assert locks(store) == [NAME]


def test_two_that_find_the_same_lock_left_behind_do_not_take_each_others(store: Store) -> None:
    from protoquant.tracking.promotion.registry_lock import Held, _set_aside

    time = Time(left_behind(store) + STALE + 1)
    with promoting(store, "birds", time.clock()) as fast:
        _set_aside(Held(store.client, NAME, "slow"), "dead")  # the slower one has read the old token
        fast.check()
    assert locks(store) == []


def test_a_model_of_the_locks_name_is_no_lock(store: Store) -> None:
    store.client.create_registered_model(NAME)
    time = Time(store.client.get_registered_model(NAME).creation_timestamp / 1000 + 2 * STALE)
    told = "stands where the lock of promotions goes"
    with pytest.raises(ProtoQuantError, match=told), promoting(store, "birds", time.clock()):
        pass
    assert store.client.get_registered_model(NAME)


def test_a_lock_that_is_released_while_mlflow_refuses_is_asked_for_again(store: Store, monkeypatch) -> None:
    create, refusals = store.client.create_registered_model, ["RESOURCE_DOES_NOT_EXIST"]

    def late(*words: object, **named: object) -> object:
        if refusals:
            error = MlflowException("not found")
            error.error_code = refusals.pop()
            raise error
        return create(*words, **named)

    monkeypatch.setattr(store.client, "create_registered_model", late)
    with promoting(store, "birds", Time(0.0).clock()) as held:
        held.check()
    assert locks(store) == []


def test_an_answer_that_was_lost_on_the_way_does_not_lock_oneself_out(store: Store, monkeypatch) -> None:
    create = store.client.create_registered_model

    def twice(*words: object, **named: object) -> object:
        create(*words, **named)
        return create(*words, **named)

    monkeypatch.setattr(store.client, "create_registered_model", twice)
    with promoting(store, "birds", Time(0.0).clock()) as held:
        held.check()
    assert locks(store) == []
