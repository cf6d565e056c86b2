import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError, UnavailableError, UsageError
from protoquant.core.events import Event
from protoquant.core.workspace import Workspace
from protoquant.tracking.connection.store import Store, open_store
from protoquant.tracking.promotion import promotion
from protoquant.tracking.promotion.config import GatesConfig
from protoquant.tracking.promotion.evidence import gather
from protoquant.tracking.promotion.promotion import Promotion, promote
from protoquant.tracking.promotion.rollback import archive
from protoquant.tracking.registry.versions import Named, champion_of
from tests.builders.bundles import flip
from tests.builders.images import write_images
from tests.builders.specs import preprocessing, spec
from tests.builders.versions import CLASSES, NO_GIT, Made, N, add, files_of

pytestmark = pytest.mark.server

GOOD, EQUAL, WORSE = Made(wrong=2), Made(wrong=2, cosine=0.79), Made(wrong=6)


@pytest.fixture
def store(with_store: Workspace) -> Iterator[Store]:
    with open_store(with_store, create=False) as opened:
        yield opened


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def ask(store: Store, with_store: Workspace, told: list[Event]) -> Any:
    def call(text: str = "birds", *, gates: GatesConfig = NO_GIT, **more: Any) -> Promotion:
        root = with_store.root / "photos"
        return promote(
            store, Named.parse(text), gates=gates, workspace=with_store, root=lambda: root,
            on_event=told.append, **more,
        )  # fmt: skip

    return call


def tags(store: Store, version: int) -> dict[str, str]:
    return dict(store.client.get_model_version("birds", str(version)).tags)


def test_the_first_version_becomes_champion(store: Store, ask: Any, told: list[Event], tmp_path: Path) -> None:
    add(store, tmp_path / "one", GOOD)
    assert champion_of(store, "birds") is None
    done = ask()
    assert (done.version, done.before, done.moved, done.refused) == (1, None, True, False)
    assert champion_of(store, "birds") == 1
    assert told[-1].text == "birds@champion is version 1"
    held = tags(store, 1)
    assert held["gates_verdict"] == "passed"
    assert [gate["name"] for gate in json.loads(held["gates"])["gates"]][:2] == ["lock", "accuracy"]
    assert held["champion_before"] == held["champion_forced"] == ""
    assert held["champion_since"]
    assert held["champion_by"]
    assert [model.name for model in store.client.search_registered_models()] == ["birds"]


def test_a_worse_one_is_refused_by_name_and_an_equal_one_is_taken(store: Store, ask: Any, tmp_path: Path) -> None:
    for number, made in enumerate((GOOD, WORSE, EQUAL)):
        add(store, tmp_path / str(number), made)
    ask("models:/birds/1")
    refused = ask("models:/birds/2")
    assert (refused.refused, refused.verdict.failed) == (True, ("accuracy",))
    assert champion_of(store, "birds") == 1
    assert tags(store, 2)["gates_verdict"] == "refused by accuracy"
    assert "0.9500 -> 0.8500" in tags(store, 2)["gates"]
    assert "champion_by" not in tags(store, 2)
    assert ask().moved
    assert champion_of(store, "birds") == 3
    assert tags(store, 3)["champion_before"] == "1"


@pytest.mark.parametrize(
    ("made", "gate"),
    [
        (replace(GOOD, weights=((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))), "prototypes"),
        (replace(GOOD, dead_share=0.4), "codebook"),
        (replace(GOOD, cosine=0.6), "grounding"),
        (replace(GOOD, metrics={"evaluate.validation.stability.prediction.value": 0.5}), "stability"),
        (replace(GOOD, metrics={}), "stability"),
        (replace(GOOD, wrong=4), "accuracy"),
    ],
)
def test_each_gate_reads_its_number_from_the_bundle_or_the_run(
    store: Store, ask: Any, tmp_path: Path, made: Made, gate: str
) -> None:
    add(store, tmp_path / "one", GOOD)
    ask()
    add(store, tmp_path / "two", made)
    refused = [name for name in ask().verdict.failed if name != "calibration"]
    assert refused == [gate]


def test_promoting_the_champion_says_so_and_asks_nobody(store: Store, ask: Any, told: list[Event], tmp_path: Path):
    add(store, tmp_path / "one", GOOD)
    ask()
    before = tags(store, 1)
    shutil.rmtree(store.artifacts)
    again = ask()
    assert (again.verdict, again.moved, again.refused) == (None, False, False)
    assert told[-1].text == "birds@champion is version 1 already"
    assert tags(store, 1) == before


def test_force_needs_a_reason_and_keeps_it(store: Store, ask: Any, tmp_path: Path) -> None:
    add(store, tmp_path / "one", GOOD)
    ask()
    add(store, tmp_path / "two", WORSE)
    with pytest.raises(UsageError, match="say why"):
        ask(force="  ")
    forced = ask(force="the old one names a class wrongly")
    assert (forced.moved, champion_of(store, "birds")) == (True, 2)
    assert tags(store, 2)["champion_forced"] == "the old one names a class wrongly"
    assert tags(store, 2)["gates_verdict"] == "forced past accuracy"
    add(store, tmp_path / "three", GOOD)
    ask(force="not needed")
    assert (tags(store, 3)["champion_forced"], tags(store, 3)["gates_verdict"]) == ("", "passed")


def test_a_flipped_byte_is_refused_in_one_line_also_by_force(store: Store, ask: Any, tmp_path: Path) -> None:
    add(store, tmp_path / "one", GOOD)
    flip(files_of(store, 1) / "tensors.safetensors")
    said = r"^models:/birds/1: its bundle/tensors\.safetensors is damaged: its bytes are not the ones that were written"
    for force in (None, "whatever it is"):
        with pytest.raises(ArtifactError, match=said) as caught:
            ask(force=force)
        assert "\n" not in str(caught.value)
    assert champion_of(store, "birds") is None


def test_a_whole_bundle_that_is_not_the_registered_one_is_refused(store: Store, ask: Any, tmp_path: Path) -> None:
    add(store, tmp_path / "one", GOOD)
    WORSE.write(files_of(store, 1))
    with pytest.raises(ArtifactError, match=r"models:/birds/1: its bundle is not the one that was registered: digest"):
        ask()


def test_a_version_without_its_tag_is_refused(store: Store, ask: Any, tmp_path: Path) -> None:
    add(store, tmp_path / "one", GOOD)
    store.client.delete_model_version_tag("birds", "1", "bundle_digest")
    with pytest.raises(ArtifactError, match=r"^models:/birds/1 has no tag bundle_digest, so whether its bundle is the"):
        ask()


def test_files_that_are_gone_a_missing_alias_and_a_missing_version_are_told(
    store: Store, ask: Any, tmp_path: Path
) -> None:
    add(store, tmp_path / "one", GOOD)
    shutil.rmtree(files_of(store, 1))
    with pytest.raises(UsageError, match="models:/birds/1 holds no ProtoQuant bundle, or its files are gone"):
        ask()
    with pytest.raises(UsageError, match=r"has no alias 'challenge' .*; did you mean 'challenger'\?"):
        ask("models:/birds@challenge")
    with pytest.raises(UsageError, match=r"'birds' has no version 7 in .*; versions: 1$"):
        ask("models:/birds/7")
    with pytest.raises(UsageError, match=r"no registered model 'brids'"):
        ask("brids")


def test_a_champion_whose_files_are_gone_needs_force(store: Store, ask: Any, tmp_path: Path) -> None:
    add(store, tmp_path / "one", GOOD)
    ask()
    shutil.rmtree(files_of(store, 1))
    add(store, tmp_path / "two", EQUAL)
    refused = ask()
    assert len(refused.verdict.failed) == 6
    assert "the champion, version 1, cannot be compared with: models:/birds/1 holds no" in refused.verdict.gates[1].said
    assert ask(force="the champion is lost").moved


def test_an_archived_version_is_not_promoted(store: Store, ask: Any, tmp_path: Path) -> None:
    add(store, tmp_path / "one", GOOD)
    add(store, tmp_path / "two", EQUAL)
    archive(store, "birds", 1)
    with pytest.raises(UsageError, match=r"version 1 of birds is archived since .* archive birds 1 --undo"):
        ask("models:/birds/1", force="really")
    archive(store, "birds", 1, undo=True)
    assert ask("models:/birds/1").moved


def test_a_champion_that_moves_meanwhile_is_compared_with_anew(
    store: Store, ask: Any, told: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = Made(wrong=0)
    for number, made in enumerate((WORSE, GOOD, best)):
        add(store, tmp_path / str(number), made)
    ask("models:/birds/1")
    judge, asked = promotion._Court.judge, []

    def slow(court: Any, champion: int | None) -> Any:
        verdict = judge(court, champion)
        if not asked:
            asked.append(champion)
            store.client.set_registered_model_alias("birds", "champion", "3")
        return verdict

    monkeypatch.setattr(promotion._Court, "judge", slow)
    late = ask("models:/birds/2")
    assert (late.before, late.verdict.champion, late.refused) == (3, 3, True)
    assert "accuracy" in late.verdict.failed
    assert champion_of(store, "birds") == 3
    assert "has moved meanwhile; the gates are asked again" in told[-1].text


def test_a_champion_that_never_rests_ends_in_a_sentence(
    store: Store, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        add(store, tmp_path / str(number), replace(GOOD, cosine=0.8 + number / 100))
    moves = iter(range(1000))
    monkeypatch.setattr(promotion, "champion_of", lambda *_: 1 + next(moves) % 2)
    with pytest.raises(UnavailableError, match="the champion of birds has moved 5 times meanwhile"):
        ask("models:/birds/3")


def test_other_validation_images_close_the_gates_unless_the_workspace_holds_them(
    store: Store, with_store: Workspace, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(with_store.images)
    write_images(with_store.images, {"validation": N}, classes=CLASSES, root=with_store.root / "photos")
    digest = artifact_digest(with_store.images / "validation")
    add(store, tmp_path / "one", GOOD)
    ask()
    add(store, tmp_path / "two", replace(GOOD, images=digest, first="validation"))
    held = with_store.images.rename(tmp_path / "away")
    refused = ask()
    assert refused.verdict.failed == ("accuracy", "calibration")
    held.rename(with_store.images)
    answers = iter([SimpleNamespace(label=0, probability=0.9, logit=3.0)] * N)
    stand_in = SimpleNamespace(
        predict=lambda images: [next(answers) for _ in images],
        backbone=SimpleNamespace(spec=spec(view=preprocessing((8, 8)))),
    )
    monkeypatch.setattr("protoquant.tracking.promotion.evidence.Model", SimpleNamespace(load=lambda *_: stand_in))
    done = ask()
    # The champion says wren to all forty, half of which are.
    assert "accuracy 0.5000 -> 0.9500" in done.verdict.gates[1].said
    assert done.moved


def test_the_gate_export_says_what_differs_or_what_is_missing(
    store: Store, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, tmp_path / "one", GOOD)
    gates = GatesConfig(lock=False)
    found = SimpleNamespace(logits=0.2, scores=1e-7, images=6, tolerance=1e-4, failure="logits of 'a' differ by 0.2")

    def missing(model: object) -> None:
        raise UsageError("ONNX needs onnx: pip install 'protoquant[export]'")

    monkeypatch.setattr("protoquant.tracking.promotion.evidence.Model", SimpleNamespace(load=lambda *_: None))
    monkeypatch.setattr("protoquant.tracking.promotion.evidence.check_parity", missing)
    refused = ask(gates=gates).verdict
    assert refused.failed == ("export",)
    assert refused.gates[-1].said == "the model cannot be exported: ONNX needs onnx: pip install 'protoquant[export]'"
    monkeypatch.setattr("protoquant.tracking.promotion.evidence.check_parity", lambda model: found)
    refused = ask(gates=gates).verdict
    assert refused.gates[-1].said.endswith("0.0001 is allowed: logits of 'a' differ by 0.2")
    found.failure = None
    assert ask(gates=gates).moved


def test_the_gate_lock_is_asked(store: Store, ask: Any, tmp_path: Path) -> None:
    add(store, tmp_path / "one", GOOD, lock_digest="none")
    refused = ask(gates=GatesConfig(export=False)).verdict
    assert refused.failed == ("lock",)
    assert "made without DVC" in refused.gates[0].said


def test_what_is_fetched_is_what_was_registered(store: Store, tmp_path: Path) -> None:
    add(store, tmp_path / "one", replace(GOOD, reference=False))
    found = gather(store, store.client.get_model_version("birds", "1"), tmp_path / "into")
    assert found.evidence.class_size == 1.0
    assert found.evidence.grounding == pytest.approx(0.8)  # of rank 0 alone
    assert (found.evidence.dead_share, found.evidence.stability) == (None, 0.9)


def test_two_promotions_at_once_leave_one_champion_and_the_second_met_the_first(
    store: Store, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        add(store, tmp_path / str(number), replace(GOOD, cosine=0.8 + number / 100))
    ask("models:/birds/1")
    judge, both = promotion._Court.judge, threading.Barrier(2, timeout=60)

    def together(court: Any, champion: int | None) -> Any:
        verdict = judge(court, champion)
        if champion == 1:
            both.wait()  # neither moves the champion before both have been compared with version 1
        return verdict

    monkeypatch.setattr(promotion._Court, "judge", together)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(ask, ["models:/birds/2", "models:/birds/3"]))
    champion = champion_of(store, "birds")
    first = 5 - champion
    assert {(each.version, each.before, each.moved) for each in done} == {(first, 1, True), (champion, first, True)}
    assert tags(store, champion)["champion_before"] == f"{first} 1"
    assert json.loads(tags(store, champion)["gates"])["champion"] == first
    assert [model.name for model in store.client.search_registered_models()] == ["birds"]
