import pandas as pd
import pytest
import torch

from benchmarks.datasets import DataSet
from benchmarks.regret import RULES, halve, lines, regrets
from benchmarks.regret_chart import draw
from protoquant.core.workspace import Workspace
from protoquant.features.store.store import FeatureStore
from tests.builders.tokens import clustered, write_split

pytestmark = pytest.mark.model


def heads(name: str, number: int, test: list[float], chosen: list[int]) -> pd.DataFrame:
    """Heads of sizes 1, 2, 3; each rule chooses one."""
    frame = pd.DataFrame(
        {
            "data": name,
            "draw": number,
            "temperature": 0.05,
            "size": [1.0, 2.0, 3.0],
            "log_loss": 0.3,
            "cross_fitted_top1": [0.7, 0.8, 0.9],
            "validation_top1": [0.6, 0.9, 0.8],
            "test_top1": test,
        }
    )
    for rule, place in zip(RULES, chosen, strict=True):
        frame[rule] = [int(row == place) for row in range(3)]
    return frame


TABLE = pd.concat(
    [
        heads("birds", 0, [0.5, 0.7, 0.8], [1, 2, 0]),
        heads("halves", 0, [0.5, 0.7, 0.8], [1, 2, 2]),
        heads("halves", 1, [0.5, 0.9, 0.8], [0, 2, 1]),
    ]
)


def test_the_regret_is_against_the_best_head_on_test() -> None:
    found = regrets(TABLE)
    assert found["regret"].tolist() == pytest.approx([0.1, 0.0, 0.3, 0.1, 0.0, 0.0, 0.4, 0.1, 0.0])
    assert found["said"].tolist()[:3] == [0.9, 0.9, 0.7]  # each rule believes what it looked at
    assert "| halves | 2 | old | 1.5 | 75.0 | 60.0 | 25.00 (40.00) |" in lines(found)


def test_the_figure(tmp_path) -> None:
    draw(TABLE, regrets(TABLE), tmp_path / "regret.png")
    assert (tmp_path / "regret.png").stat().st_size > 5_000


def test_halves_keep_every_class_and_the_test_images(tmp_path) -> None:
    space = Workspace(tmp_path / "whole")
    for seed, (split, n) in enumerate({"train": 27, "validation": 9, "test": 6}.items()):
        write_split(space.features / split, *clustered(n, seed))
    space.images.mkdir(parents=True)
    whole = DataSet("birds", "birds", 0, space, tmp_path)
    one, again, other = (halve(whole, number, tmp_path / place) for number, place in ((1, "a"), (1, "b"), (2, "a")))
    stores = [FeatureStore.open(each.workspace.features / "train") for each in (one, again, other)]
    assert [store.labels.bincount().tolist() for store in stores] == [[5, 5, 5]] * 3
    assert stores[0].image_ids == stores[1].image_ids != stores[2].image_ids
    (first,) = stores[0].tokens(torch.tensor([0]))
    names = FeatureStore.open(space.features / "train")
    assert torch.equal(first, names.tokens(torch.tensor([names.image_ids.index(stores[0].image_ids[0])]))[0])
    assert FeatureStore.open(one.workspace.features / "test").n == 6
    assert (one.name, one.key) == ("birds, halves", "birds-half-1")
