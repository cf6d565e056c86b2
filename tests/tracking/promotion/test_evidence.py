"""On which images two versions are held against each other."""

from types import SimpleNamespace
from typing import Any

from protoquant.core.artifacts import writing
from protoquant.core.events import ignore
from protoquant.core.workspace import Workspace
from protoquant.tracking.promotion.evidence import compare


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
