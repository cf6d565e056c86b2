import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protoquant.core.errors import ArtifactError, UnavailableError, UsageError
from protoquant.core.events import ignore
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.promotion import promotion, rollback
from protoquant.tracking.promotion.evidence import gather
from protoquant.tracking.promotion.gates import Gate, GateVerdict
from protoquant.tracking.promotion.promotion import promote
from protoquant.tracking.promotion.rollback import Rollback, archive, roll_back
from protoquant.tracking.registry.versions import Named, champion_of
from tests.builders.versions import NO_GIT, Made, add, files_of

pytestmark = pytest.mark.server


@pytest.fixture
def store(with_store: Workspace) -> Iterator[Store]:
    with open_store(with_store, create=False) as opened:
        yield opened


@pytest.fixture
def line(store: Store, with_store: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Register as many versions as are named, and make them champion in the order given; the gates are not asked."""

    def passed(court: Any, champion: int | None) -> GateVerdict:
        return GateVerdict(int(court.version.version), champion, (Gate("accuracy", True, "as good"),), "")

    monkeypatch.setattr(promotion._Court, "judge", passed)

    def make(*order: int) -> None:
        for number in range(max(order)):
            add(store, tmp_path / str(number), replace(Made(), cosine=0.8 + number / 100))
        for number in order:
            named = Named("birds", None, number)
            promote(
                store, named, gates=NO_GIT, workspace=with_store, root=lambda: with_store.root, on_event=ignore
            )  # fmt: skip

    return make


def back(store: Store, **more: Any) -> Rollback:
    return roll_back(store, "birds", on_event=ignore, **more)


def tags(store: Store, version: int) -> dict[str, str]:
    return dict(store.client.get_model_version("birds", str(version)).tags)


def test_rollback_walks_back_champion_by_champion(store: Store, line: Callable[..., None]) -> None:
    line(1, 2, 3)
    told: list[Any] = []
    assert roll_back(store, "birds", on_event=told.append) == Rollback("birds", 3, 2)
    assert told[-1].text == (
        "birds@champion is version 2 again (validation accuracy 0.9500); it was version 3"
    )  # fmt: skip
    assert back(store) == Rollback("birds", 2, 1)
    assert champion_of(store, "birds") == 1
    with pytest.raises(UsageError, match="nothing to roll back to: no champion of birds before version 1 is known"):
        back(store)
    assert champion_of(store, "birds") == 1


def test_a_version_that_was_champion_twice_is_met_twice(store: Store, line: Callable[..., None]) -> None:
    line(1, 2, 1, 3)
    assert [back(store).version for _ in range(3)] == [1, 2, 1]
    with pytest.raises(UsageError, match="nothing to roll back to"):
        back(store)


def test_a_promotion_after_a_rollback_follows_the_present_champion(
    store: Store, with_store: Workspace, line: Callable[..., None]
) -> None:
    line(1, 2, 3)
    back(store, reason="calls wrens robins")
    assert tags(store, 3)["rolled_back"].endswith(": calls wrens robins")
    named = Named("birds", None, 3)
    told: list[Any] = []
    promote(store, named, gates=NO_GIT, workspace=with_store, root=lambda: with_store.root, on_event=told.append)
    assert (told[0].level, "version 3 was rolled back from: " in told[0].text) == ("warning", True)
    assert tags(store, 3)["champion_before"] == "2 1"
    assert tags(store, 3)["rolled_back"] == ""
    assert back(store).version == 2


def test_an_archived_one_is_not_rolled_back_to_but_an_earlier_one_can_be_named(
    store: Store, line: Callable[..., None]
) -> None:
    line(1, 2, 3)
    archive(store, "birds", 2)
    said = r"version 2 of birds, is archived since .* archive birds 2 --undo takes it back; .* rollback birds --to 1"
    with pytest.raises(UsageError, match=said):
        back(store)
    assert champion_of(store, "birds") == 3
    assert back(store, to=1) == Rollback("birds", 3, 1)


def test_a_version_that_was_never_champion_is_not_rolled_back_to(store: Store, line: Callable[..., None]) -> None:
    line(1, 3)
    with pytest.raises(UsageError, match="version 2 of birds was not champion before version 3; those before: 1"):
        back(store, to=2)
    with pytest.raises(UsageError, match="version 3 of birds is champion already"):
        back(store, to=3)


def test_files_that_are_gone_or_damaged_are_told_and_the_champion_stays(
    store: Store, line: Callable[..., None]
) -> None:
    line(1, 2, 3)
    file = files_of(store, 2) / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ArtifactError, match=r"models:/birds/2: .*tensors\.safetensors is damaged.*--to 1$"):
        back(store)
    shutil.rmtree(files_of(store, 2))
    with pytest.raises(UsageError, match=r"models:/birds/2 holds no ProtoQuant bundle, .* gone .*--to 1$"):
        back(store)
    assert champion_of(store, "birds") == 3


def test_a_promotion_in_between_is_not_undone_unseen(
    store: Store, line: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    line(1, 2, 3)

    def slow(*words: Any) -> Any:
        store.client.set_registered_model_alias("birds", "champion", "1")
        return gather(*words)

    monkeypatch.setattr(rollback, "gather", slow)
    with pytest.raises(UnavailableError, match="birds@champion has moved meanwhile from version 3"):
        back(store)
    assert champion_of(store, "birds") == 1


def test_a_version_that_is_archived_meanwhile_does_not_become_champion_again(
    store: Store, line: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    line(1, 2)

    def slow(*words: Any) -> Any:
        found = gather(*words)
        store.client.set_model_version_tag("birds", "1", "archived", "2026-01-01")
        return found

    monkeypatch.setattr(rollback, "gather", slow)
    with pytest.raises(UsageError, match="version 1 of birds, is archived since 2026-01-01"):
        back(store)
    assert champion_of(store, "birds") == 2


def test_without_champion_or_model_there_is_nothing_to_roll_back(store: Store, tmp_path: Path) -> None:
    add(store, tmp_path / "one")
    with pytest.raises(UsageError, match="birds has no champion to roll back"):
        back(store)
    with pytest.raises(UsageError, match="no registered model 'fish'"):
        roll_back(store, "fish", on_event=ignore)


def test_archive_marks_and_unmarks_and_deletes_nothing(store: Store, tmp_path: Path) -> None:
    for number in range(2):
        add(store, tmp_path / str(number), replace(Made(), cosine=0.5 + number / 10))
    assert archive(store, "birds", 1) == "version 1 of birds is archived; its files stay"
    assert tags(store, 1)["archived"].startswith("20")
    assert archive(store, "birds", 1).startswith("version 1 of birds is archived already, since 20")
    assert files_of(store, 1).is_dir()
    assert archive(store, "birds", 1, undo=True) == "version 1 of birds is no longer archived"
    assert "archived" not in tags(store, 1)
    assert archive(store, "birds", 1, undo=True) == "version 1 of birds is not archived"
    with pytest.raises(UsageError, match=r"version 2 of birds is @challenger; an alias must point elsewhere"):
        archive(store, "birds", 2)
    with pytest.raises(UsageError, match="has no version 9"):
        archive(store, "birds", 9)
