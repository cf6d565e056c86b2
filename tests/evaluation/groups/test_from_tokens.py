"""The groups that need stored tokens alone: deletion and top-k, on a store of known answers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from protoquant.core.events import ignore
from protoquant.data.table import ImageTable
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups import deletion, topk
from protoquant.evaluation.subject import Subject
from protoquant.model.bundle import Bundle
from tests.builders.bundles import bundle, write_bundle
from tests.builders.images import write_images
from tests.builders.tokens import DIRECTIONS, GRID, clustered, write_split

N = 24
CONFIG = EvaluateConfig(resamples=100)


@pytest.fixture
def clusters(tmp_path: Path) -> Subject:
    """A model whose head names each class's own two codes, the first with twice the weight."""
    head = torch.zeros(3, 8)
    for label in range(3):
        head[label, 2 * label], head[label, 2 * label + 1] = 8.0, 4.0
    made = Bundle.open(write_bundle(tmp_path / "bundle", bundle(DIRECTIONS, head, grid=GRID)))
    write_split(tmp_path / "features" / "test", *clustered(N, 0, noise=0.3))
    table = ImageTable.open(write_images(tmp_path / "images", {"test": N}), tmp_path)
    return Subject(made, table, None, tmp_path / "features", CONFIG, 0, torch.device("cpu"), ignore)


def test_deletion(clusters: Subject) -> None:
    found = deletion.measure(clusters, "test")
    assert set(found.tables) == {"deletion.csv"}
    numbers = found.numbers
    assert numbers["deletion"]["n"] == N
    assert 0 < numbers["deletion"]["value"] < numbers["deletion_random"]["value"] < 1
    assert numbers["insertion"]["value"] > numbers["insertion_random"]["value"]
    gap = numbers["deletion_random"]["value"] - numbers["deletion"]["value"]
    assert numbers["deletion_gain"]["value"] == pytest.approx(gap)


def test_topk(clusters: Subject) -> None:
    found = topk.measure(clusters, "test")
    table = found.tables["topk.csv"]
    assert table[["mode", "k"]].to_numpy().tolist() == [["mask", 1], ["mask", 2], ["compact", 1], ["compact", 2]]
    assert table["prototypes"].tolist() == [3, 6, 3, 6]
    seen = clusters.sightings("test")
    whole = float((seen.predicted == seen.labels).mean())
    assert found.numbers["mask"]["top1"]["2"]["value"] == pytest.approx(whole)
    assert found.numbers["mask"]["top1"]["2"]["value"] == table["top1"][1]
    assert 0 < found.numbers["compact"]["area"]["value"] <= 1


def test_measuring_changes_neither_codes_nor_head(clusters: Subject) -> None:
    before = clusters.bundle.codebook.codes.clone(), clusters.bundle.head.clone(), clusters.bundle.digest
    deletion.measure(clusters, "test")
    topk.measure(clusters, "test")
    assert torch.equal(clusters.bundle.codebook.codes, before[0])
    assert torch.equal(clusters.bundle.head, before[1])
    assert clusters.bundle.digest == before[2]
    assert np.isfinite(clusters.head).all()
