"""What is known of a version before it may be champion, and on which images two versions are compared."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def candidate(version: int, images: str) -> Any:
    evidence = SimpleNamespace(version=version)
    return SimpleNamespace(images=images, bundle=SimpleNamespace(reference=object()), evidence=evidence)


def test_a_champion_is_not_asked_with_images_that_are_neither_its_own_nor_the_challengers(workspace: Workspace) -> None:
    with writing(workspace.images / "validation", "images"):
        pass
    one, two, root = candidate(1, "a"), candidate(2, "b"), workspace.root
    said = compare(one, two, workspace=workspace, root=lambda: root, on_event=ignore)
    assert str(said).startswith("version 1 was chosen on other validation images than version 2; run this where")
    empty = Workspace(root / "empty")
    said = compare(one, two, workspace=empty, root=lambda: root, on_event=ignore)
    assert str(said).startswith("the champion cannot answer for the challenger's validation images: no artifact at")


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
