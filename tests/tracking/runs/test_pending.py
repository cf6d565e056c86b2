"""Snapshots of models that wait to be sent: what they hold, in which order they come, and how they go."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from protoquant.core.artifacts import artifact_digest, writing
from protoquant.core.errors import ArtifactError
from protoquant.core.workspace import Workspace
from protoquant.tracking.runs import pending as module
from protoquant.tracking.runs.pending import KIND, is_pending, keep, opened, pending, remove, sending
from protoquant.tracking.runs.trained_model import TrainedModel

pytestmark = pytest.mark.process


@pytest.fixture
def kept(workspace: Workspace) -> Path:
    return keep(TrainedModel(workspace, "birds", "challenger", {"seed": "0"}))


def test_a_snapshot_links_what_nobody_edits_and_copies_what_is_edited_in_place(workspace: Workspace, kept: Path):
    there = Workspace(kept)
    assert (there.bundle / "manifest.json").samefile(workspace.bundle / "manifest.json")
    with workspace.params.open("r+") as file:
        file.write("seed: 1\n")
    assert there.params.read_text() == "seed: 0\n"


def test_a_snapshot_gives_back_what_was_kept_and_is_held_against_its_digests(workspace: Workspace, kept: Path):
    (found,) = pending(workspace)
    assert (found.path, found.bundle, found.name, found.damage) == (
        kept, artifact_digest(workspace.bundle), "birds", None,
    )  # fmt: skip
    trained = opened(found)
    assert (trained.name, trained.alias, trained.params, trained.digest) == (
        "birds", "challenger", {"seed": "0"}, found.bundle,
    )  # fmt: skip
    file = Workspace(kept).codebook / "metrics.json"
    held = file.read_bytes()
    file.unlink()  # a link to the workspace's own
    file.write_bytes(held.replace(b"12.5", b"12.6"))
    with pytest.raises(ArtifactError, match=r"codebook/metrics\.json is damaged"):
        opened(found)


def test_the_oldest_comes_first_and_a_damaged_one_before_all(workspace: Workspace):
    for name, day in (("later", 2), ("first", 1), ("last", 3)):
        at = datetime(2026, 1, day, tzinfo=UTC).isoformat()
        with writing(workspace.pending / "b" / name, KIND, at=at, place="", variables={}):
            pass
    with writing(workspace.pending / "b" / "odd", KIND, at="yesterday", place="", variables={}):
        pass
    assert [each.name for each in pending(workspace)] == ["odd", "first", "later", "last"]
    assert [each.name for each in pending(workspace) if each.damage] == ["odd"]


def test_a_kill_while_a_snapshot_is_removed_leaves_nothing_that_could_be_sent_again(
    workspace: Workspace, kept: Path, monkeypatch: pytest.MonkeyPatch
):
    assert is_pending(workspace)

    def killed(path: Path, *, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "shutil", type("Shutil", (), {"rmtree": staticmethod(killed)}))
        with pytest.raises(KeyboardInterrupt):
            remove(kept)
    assert (pending(workspace), is_pending(workspace)) == ([], False)
    assert any(kept.parent.iterdir())
    with sending(workspace):
        assert not kept.parent.exists(), "the next that sends clears it away"


def test_a_snapshot_outlives_its_workspace(workspace: Workspace, kept: Path, tmp_path: Path):
    shutil.move(kept.parent.parent, tmp_path / "elsewhere")
    shutil.rmtree(workspace.root / "artifacts")
    (found,) = (module.described(path) for path in (tmp_path / "elsewhere").glob("[!.]*/birds"))
    opened(found).check()
