"""A lock that allows one promotion of a model at a time, built on the unique names of registered models.

MLflow has no lock. Of two calls that create a registered model of the same name, one succeeds and one is refused, on
SQLite and on a server alike. The process that created ``NAME.promotion`` may move the champion of NAME, and deletes it
afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from protoquant.core.errors import ProtoQuantError, UnavailableError
from protoquant.tracking.connection.mlflow_api import MlflowClient, MlflowException
from protoquant.tracking.connection.store import ALREADY, Store
from protoquant.tracking.registry.registry import LOCK_TAG

STALE = 15 * 60.0
"""Seconds after which a lock counts as abandoned; it is only held for a few requests."""
_GONE = "RESOURCE_DOES_NOT_EXIST"
_DESCRIPTION = "Not a model: one promotion at a time. It is taken over 15 minutes after it was made."


@dataclass(frozen=True)
class Clock:
    """The clock of the lock, and how long it waits.

    Attributes:
        now: Returns the seconds since the epoch.
        sleep: Waits for a number of seconds.
        patience: Seconds to wait for a lock.
        pause: Seconds between two tries.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    patience: float = 30.0
    pause: float = 0.5


@dataclass(frozen=True)
class Held:
    """A lock that this process made."""

    client: MlflowClient
    name: str
    token: str

    def check(self) -> None:
        """Check that no other process has taken over the lock; called right before the champion moves.

        Raises:
            UnavailableError: Another process has taken it over.
        """
        model = _model(self.client, self.name)
        if model is None or model.tags.get(LOCK_TAG) != self.token:
            raise UnavailableError(
                f"another process took over {self.name} because this one held it for longer than {STALE / 60:.0f} "
                "minutes; nothing was moved, call it again"
            )


@contextmanager
def promoting(store: Store, name: str, clock: Clock | None = None) -> Iterator[Held]:
    """Let one process at a time, on any machine, move the champion of a model.

    Args:
        store: An open store.
        name: Name of the registered model.
        clock: A clock for the lock; None for the system's.

    Raises:
        UnavailableError: Another process holds the lock and does not release it.
        ProtoQuantError: A registered model that is not a lock has the lock's name.
    """
    held = Held(store.client, f"{name}.promotion", uuid4().hex)
    _take(held, name, clock or Clock())
    try:
        yield held
    finally:
        _release(held)


def _take(held: Held, name: str, clock: Clock) -> None:
    """Create the lock: wait for its holder, or replace a lock that was abandoned."""
    until = clock.now() + clock.patience
    while not _made(held):
        model = _model(held.client, held.name)
        # A lock that is gone was released between two requests; one without its tag is being deleted, or is no lock.
        token = None if model is None else model.tags.get(LOCK_TAG)
        since = clock.now() if model is None else model.creation_timestamp / 1000
        if token and clock.now() - since > STALE:
            _set_aside(held, str(token))
        elif clock.now() < until:
            clock.sleep(clock.pause)
        elif model is not None and token is None:
            raise ProtoQuantError(
                f"a registered model {held.name!r} stands where the lock of promotions goes; give it another name"
            )
        else:
            said = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            raise UnavailableError(f"another promotion of {name} is under way (since {said}); try again in a minute")


def _made(held: Held) -> bool:
    try:
        held.client.create_registered_model(held.name, tags={LOCK_TAG: held.token}, description=_DESCRIPTION)
    except MlflowException as error:
        # On a conflict MLflow looks up the existing model, and says that there is none if it was just released.
        if error.error_code not in (*ALREADY, _GONE):
            raise
        # If the response to the first try was lost, MLflow's client has repeated the request, and the lock is ours.
        model = _model(held.client, held.name)
        return model is not None and model.tags.get(LOCK_TAG) == held.token
    return True


def _set_aside(held: Held, token: str) -> None:
    """Remove an abandoned lock.

    It is first renamed after its own token. Of two processes that find it, the slower one then cannot rename the new
    lock of the faster one by mistake, as that name is taken.
    """
    aside = f"{held.name}.{token}"
    with _passing(_GONE, *ALREADY):
        held.client.rename_registered_model(held.name, aside)
        held.client.set_registered_model_tag(aside, "set_aside_by", held.token)


def _release(held: Held) -> None:
    """Delete the lock if it is still ours, and the abandoned locks that were set aside for it."""
    with suppress(MlflowException):
        model = _model(held.client, held.name)
        if model is not None and model.tags.get(LOCK_TAG) == held.token:
            held.client.delete_registered_model(held.name)
        for left in held.client.search_registered_models(f"tags.set_aside_by = '{held.token}'"):
            held.client.delete_registered_model(left.name)


@contextmanager
def _passing(*codes: str) -> Iterator[None]:
    """Errors of MLflow with these codes mean that another process was faster."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


def _model(client: MlflowClient, name: str) -> Any:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _GONE:
            raise
        return None
