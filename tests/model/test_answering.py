import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.backbone.spec import BackboneSpec, WeightsSpec
from protoquant.model.answering import answers
from protoquant.model.bundle import Bundle
from protoquant.model.explanation import TrainPatch
from protoquant.model.presence import Look
from protoquant.model.provenance import COLUMNS

SQUASH = Preprocessing((64, 96), (64, 96), "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)
SPEC = BackboneSpec("test_model", WeightsSpec("packaged", "0" * 64), SQUASH)
HEAD = torch.tensor([[1.0, 0.5, 4.0], [0.0, 3.0, 0.0]])
PATCHES = {code: (TrainPatch(0, f"train/{code}.png", 0, "auk", (0, 0), 0.9, None),) for code in range(3)}


def bundle(grid: tuple[int, int]) -> Bundle:
    nothing = pd.DataFrame([], columns=list(COLUMNS)).astype(COLUMNS)
    codebook = Codebook(torch.eye(3), FeatureNorm("l2"))
    return Bundle(codebook, HEAD, 0.1, ("auk", "wren"), grid, SPEC, {}, nothing, {})


def look(grid: tuple[int, int], *maps: list[float]) -> Look:
    """One image, with the shares of each code row by row."""
    shares = torch.tensor(maps).T[None]
    assert shares.shape == (1, grid[0] * grid[1], 3)
    return Look(shares, shares)


def one_cell(scores: list[float], cell: int = 0) -> Look:
    """Codes that are seen in one of 2 x 3 cells alone."""
    return look((2, 3), *([0.0] * cell + [score] + [0.0] * (5 - cell) for score in scores))


@pytest.mark.parametrize(
    ("grid", "cell", "box"), [((2, 3), (1, 1), (100, 100, 200, 200)), ((3, 2), (2, 0), (0, 400 / 3, 150, 200))]
)
def test_a_cell_is_counted_along_the_rows_of_a_grid_that_is_not_square(grid, cell, box) -> None:
    found = look(grid, [0.0, 0.0, 0.0, 0.0, 0.9, 0.0], [0.0] * 6, [0.0] * 6)
    (answer,) = answers(found, bundle(grid), PATCHES, [(300, 200)], 1)
    assert answer.contributions[0].cell == cell
    assert answer.contributions[0].box == pytest.approx(box)


def test_the_box_of_each_part_is_its_own_region() -> None:
    """Code 0 spreads over the first two cells of 100 x 100 pixels, code 2 over the last column."""
    found = look((2, 3), [0.5, 0.4, 0.0, 0.4, 0.3, 0.0], [0.0] * 6, [0.0, 0.0, 0.1, 0.0, 0.0, 0.2])
    (answer,) = answers(found, bundle((2, 3)), PATCHES, [(300, 200)], 3)
    placed = {part.prototype: (part.cell, part.box) for part in answer.contributions}
    assert placed[0] == ((0, 0), pytest.approx((0, 0, 200, 100)))
    assert placed[2] == ((1, 2), pytest.approx((200, 100, 300, 200)))
    assert answers(found, bundle((2, 3)), {}, [(300, 200)], 0)[0].contributions == ()


def test_the_largest_contribution_comes_first_not_the_largest_weight() -> None:
    found = one_cell([0.9, 0.2, 0.1])
    (answer,) = answers(found, bundle((2, 3)), PATCHES, [(300, 200)], 2)
    assert [(part.prototype, part.weight) for part in answer.contributions] == [(0, 1.0), (2, 4.0)]
    assert [part.contribution for part in answer.contributions] == pytest.approx([0.9, 0.4])
    assert [part.train_image for part in answer.contributions] == ["train/0.png", "train/2.png"]


def test_the_account_closes_to_the_last_digits() -> None:
    """Sums are of float64: in float32 they would be right to seven digits."""
    scores = torch.tensor([[0.9, 0.2, 0.1]])
    (answer,) = answers(one_cell([0.9, 0.2, 0.1]), bundle((2, 3)), PATCHES, [(300, 200)], 3)
    assert answer.logit == pytest.approx(sum(part.contribution for part in answer.contributions), rel=1e-13, abs=0)
    assert answer.logit == pytest.approx(float(scores.double() @ HEAD[0].double()), rel=1e-13, abs=0)
