"""What others do, or a kill, while a promotion is under way: the champion moves whole, or not at all."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protoquant.core.errors import UnavailableError, UsageError
from protoquant.core.events import ignore
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.promotion import promotion
from protoquant.tracking.promotion.promotion import Promotion, promote
from protoquant.tracking.registry.registry import LOCK_TAG
from protoquant.tracking.registry.versions import Named, champion_of
from tests.builders.versions import NO_GIT, Made, add

pytestmark = pytest.mark.server


@pytest.fixture
def store(with_store: Workspace, tmp_path: Path) -> Iterator[Store]:
    """Two versions, the first of which is champion."""
    with open_store(with_store, create=False) as opened:
        for number in range(2):
            add(opened, tmp_path / str(number), replace(Made(), cosine=0.8 + number / 100))
        opened.client.set_registered_model_alias("birds", "champion", "1")
        yield opened


@pytest.fixture
def ask(store: Store, with_store: Workspace) -> Callable[[], Promotion]:
    """Promote the second version."""
    named = Named("birds", None, 2)
    return lambda: promote(
        store, named, gates=NO_GIT, workspace=with_store, root=lambda: with_store.root, on_event=ignore
    )  # fmt: skip


def tags(store: Store) -> dict[str, str]:
    return dict(store.client.get_model_version("birds", "2").tags)


def and_then(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, then: Callable[[], Any]) -> None:
    """Let something happen right after a step."""
    step = getattr(owner, name)

    def both(*words: Any) -> Any:
        found = step(*words)
        then()
        return found

    monkeypatch.setattr(owner, name, both)


def test_a_version_that_is_archived_while_the_gates_are_asked_is_not_promoted(
    store: Store, ask: Callable[[], Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    and_then(
        monkeypatch,
        promotion._Court,
        "judge",
        lambda: store.client.set_model_version_tag("birds", "2", "archived", "2026-01-01"),
    )
    with pytest.raises(UsageError, match="version 2 of birds is archived since 2026-01-01"):
        ask()
    assert champion_of(store, "birds") == 1
    assert "gates_verdict" not in tags(store)


def test_whoever_loses_the_lock_before_the_champion_moves_leaves_it_where_it_is(
    store: Store, ask: Callable[[], Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    and_then(
        monkeypatch,
        promotion,
        "_remember",
        lambda: store.client.set_registered_model_tag("birds.promotion", LOCK_TAG, "another"),
    )
    with pytest.raises(UnavailableError, match=r"another process took over birds\.promotion .* nothing was moved"):
        ask()
    assert champion_of(store, "birds") == 1


def test_a_champion_knows_whom_it_follows_before_it_is_one(
    store: Store, ask: Callable[[], Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, it could not be rolled back."""
    seen: list[str] = []
    point = promotion.point_alias

    def watched(*words: Any) -> bool:
        seen.append(tags(store)["champion_before"])
        return point(*words)

    monkeypatch.setattr(promotion, "point_alias", watched)
    assert ask().moved
    assert seen == ["1"]


def test_an_outage_while_the_champion_is_fetched_is_no_refusal(
    store: Store, ask: Callable[[], Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    gather = promotion.gather

    def away(opened: Store, version: Any, into: Path) -> Any:
        if int(version.version) == 1:
            raise UnavailableError("MLflow does not answer")
        return gather(opened, version, into)

    monkeypatch.setattr(promotion, "gather", away)
    with pytest.raises(UnavailableError, match="does not answer"):
        ask()
    assert "gates_verdict" not in tags(store)
