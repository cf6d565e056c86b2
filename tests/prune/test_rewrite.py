from dataclasses import replace

import pandas as pd
import pytest
import torch

from protoquant.core.artifacts import open_artifact, writing
from protoquant.core.errors import ArtifactError, UsageError
from protoquant.core.events import ignore
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import write_store
from protoquant.head.prune_plan import PrunePlan
from protoquant.model.bundle import KIND, Bundle
from protoquant.prune.apply import fitted_with
from protoquant.prune.rewrite import prune_and_write
from tests.prune.conftest import CPU

PLAN = PrunePlan(unit="class_budget", criterion="magnitude", budget=1, semantics="compact")


def run(path, features, out, plan=PLAN):
    return prune_and_write(plan, bundle=path, features=features, out=out, device=CPU, on_event=ignore)


def test_a_new_bundle_with_its_pictures_and_its_origin(path, features, tmp_path) -> None:
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    result = run(path, features, tmp_path / "small")
    old, new = Bundle.open(path), Bundle.open(result.out)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert new.codebook.k < old.codebook.k
    pictures = sorted((result.out / "crops").iterdir())
    assert len(pictures) == 2 * len(new.prototypes)
    for code in new.prototypes.tolist():
        same = [
            number
            for number in range(old.codebook.k)
            if bool((old.codebook.codes[number] == new.codebook.codes[code]).all())
        ]
        assert new.crop(code, 0).read_bytes() == old.crop(same[0], 0).read_bytes()
    inputs = open_artifact(result.out, "bundle").inputs
    assert inputs["bundle"] == old.digest
    assert inputs["codebook"] == open_artifact(path, "bundle").inputs["codebook"]
    pd.testing.assert_frame_equal(pd.read_csv(result.out / "path.csv"), pd.read_csv(path / "path.csv"))
    assert result.sentence.startswith("pruned: validation top-1 ")
    assert result.images == 12


def test_an_old_bundle_of_joint_training_and_then_grounding_opens_and_is_pruned(path, features, tmp_path) -> None:
    """Its params name both sections, which train now refuses together; the head was fitted on grounded codes."""
    new, old = Bundle.open(path), tmp_path / "old"
    both = {"joint": {"epochs": 40, "prototype_dropout": 0.5}, "grounding": "mean", "grounding_patches": 4}
    with writing(old, KIND, open_artifact(path, KIND).inputs) as folder:
        replace(new, params={"train": {**new.params["train"], **both}}).save(folder, pd.read_csv(path / "path.csv"))
    opened = Bundle.open(old)
    assert opened.params["train"]["joint"] == both["joint"]
    assert fitted_with(opened).joint is None
    found = [Bundle.open(run(one, features, tmp_path / f"{one.name}-small").out) for one in (old, path)]
    assert torch.equal(found[0].head, found[1].head)
    assert found[0].params["train"] == opened.params["train"]


def test_never_opens_test(path, features, tmp_path) -> None:
    import shutil

    shutil.rmtree(features / "test")
    run(path, features, tmp_path / "small")


def test_same_inputs_same_bytes(path, features, tmp_path) -> None:
    for name in ("a", "b"):
        run(path, features, tmp_path / name, PrunePlan(end=0.3, semantics="sink", sink_codes=1))
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_the_bundle_is_not_overwritten(path, features) -> None:
    with pytest.raises(UsageError, match="must be another folder than the bundle"):
        run(path, features, path)


def test_features_of_another_run_are_refused(path, features, tmp_path) -> None:
    store = FeatureStore.open(features / "validation")
    tokens = store.tokens(list(range(store.n))) * 2
    write_store(store.path, tokens, store.labels, store.image_ids, store.grid, store.backbone)
    with pytest.raises(ArtifactError, match="was trained on other validation features"):
        run(path, features, tmp_path / "small")
