"""What is known of a version before it may be champion, and on which images two versions are compared."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from protoquant.core.artifacts import writing
from protoquant.core.errors import ArtifactError
from protoquant.core.events import ignore
from protoquant.core.workspace import Workspace
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.connection.store import open_store
from protoquant.tracking.promotion.evidence import compare, gather
from protoquant.tracking.register import register
from tests.builders.backbones import write_weights
from tests.builders.workspaces import write_true_bundle


def candidate(version: int, images: str, *, answers: str = "", fitted: str = "train") -> Any:
    """A version chosen on the images of one folder and fitted on those of another."""
    ids = [f"{images}/{number}.png" for number in range(4)]
    metrics = {"answers": {"validation": answers}} if answers else {}
    bundle = SimpleNamespace(
        reference=SimpleNamespace(answers=pd.DataFrame({"image_id": ids})),
        provenance=pd.DataFrame({"image_id": [f"{fitted}/{number}.png" for number in range(3)]}),
        metrics=metrics,
    )
    return SimpleNamespace(images=images, bundle=bundle, evidence=SimpleNamespace(version=version))


def test_a_champion_is_not_asked_with_images_that_are_neither_its_own_nor_the_challengers(workspace: Workspace) -> None:
    with writing(workspace.images / "validation", "images"):
        pass
    one, two, root = candidate(1, "a"), candidate(2, "b"), workspace.root
    said = compare(one, two, workspace=workspace, root=lambda: root, on_event=ignore)
    assert str(said).startswith("version 1 was chosen on other validation images than version 2; run this where")
    empty = Workspace(root / "empty")
    said = compare(one, two, workspace=empty, root=lambda: root, on_event=ignore)
    assert str(said).startswith("the champion cannot answer for the challenger's validation images: no artifact at")


OLD: dict[str, str] = {}
NEW = {"answers": "held_out"}
INSIDE = {"answers": "in_sample"}


@pytest.mark.parametrize("champion", [OLD, NEW], ids=["old", "new"])
@pytest.mark.parametrize("challenger", [OLD, NEW], ids=["old", "new"])
def test_held_out_answers_for_the_same_images_are_compared(workspace, monkeypatch, champion, challenger) -> None:
    monkeypatch.setattr("protoquant.tracking.promotion.evidence.paired", lambda *both: both)
    one, two = candidate(1, "a", **champion), candidate(2, "a", **challenger)
    found = compare(one, two, workspace=workspace, root=lambda: workspace.root, on_event=ignore)
    assert found == (one.bundle, two.bundle)


@pytest.mark.parametrize(
    ("champion", "challenger", "said"),
    [
        pytest.param(OLD, INSIDE, "version 2 was fitted on its own validation images", id="old-new"),
        pytest.param(INSIDE, OLD, "version 1 was fitted on its own validation images", id="new-old"),
        pytest.param(INSIDE, INSIDE, "version 2 was fitted on its own validation images", id="new-new"),
    ],
)
def test_answers_for_images_that_a_version_was_fitted_on_are_not_compared(
    workspace, champion, challenger, said
) -> None:
    one, two = candidate(1, "a", **champion), candidate(2, "a", **challenger)
    found = compare(one, two, workspace=workspace, root=lambda: workspace.root, on_event=ignore)
    assert str(found).startswith(f"{said}, so its answers for them are in-sample; only answers for images")
    assert "\n" not in str(found)


@pytest.mark.parametrize("champion", [OLD, NEW, INSIDE], ids=["old", "new", "in-sample"])
@pytest.mark.parametrize("challenger", [OLD, NEW], ids=["old", "new"])
def test_a_champion_that_was_fitted_on_the_challengers_images_is_not_asked(workspace, champion, challenger) -> None:
    """Both were cut from one set of images, each by another seed."""
    one = candidate(1, "a", fitted="b", **champion)
    two = candidate(2, "b", **challenger)
    found = compare(one, two, workspace=workspace, root=lambda: workspace.root, on_event=ignore)
    assert str(found).startswith("version 1 was fitted on validation images of version 2, so its answers for them are")


@pytest.mark.process
@pytest.mark.usefixtures("small_package")
def test_the_weights_of_a_version_are_its_own_and_whole(with_store: Workspace, tmp_path: Path) -> None:
    """The file that it was trained with still lies on this machine, which says nothing of other machines."""
    weights = write_true_bundle(with_store)
    register(RegisterConfig(name="birds"), workspace=with_store, params={"seed": 0}, on_event=ignore)
    with open_store(with_store, create=False) as store:
        version = store.client.get_model_version("birds", "1")
        (logged,) = store.artifacts.rglob(weights.name)
        assert gather(store, version, tmp_path / "whole").weights is not None
        logged.write_bytes(write_weights(tmp_path, "test_resnet", seed=1).read_bytes())
        with pytest.raises(
            ArtifactError, match=r"^models:/birds/1: the weights of test_resnet are not those that made"
        ):
            gather(store, version, tmp_path / "other")
        logged.unlink()
        with pytest.raises(
            ArtifactError, match=r"^models:/birds/1: the file of its backbone weights is gone; register"
        ):
            gather(store, version, tmp_path / "gone")
