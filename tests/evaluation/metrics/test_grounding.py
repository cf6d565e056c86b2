import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.evaluation.metrics.grounding import grounding_numbers, prototype_table
from protoquant.model.bundle import Bundle
from tests.builders.bundles import bundle

AXES = torch.eye(3)
L2 = FeatureNorm("l2")


def made(codes: torch.Tensor) -> Bundle:
    """Codes 0 and 2 are prototypes; code 2 leads with a patch that is not its nearest."""
    patches = [
        (0, 0, "a.png", 0, 0, 1, 1.0),
        (0, 1, "b.png", 0, 1, 1, 0.5),
        (2, 0, "c.png", 1, 0, 0, 0.6),
        (2, 1, "d.png", 1, 1, 0, 0.8),
    ]
    return bundle(codes, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]), grid=(2, 2), patches=patches)


def test_table_and_numbers_by_hand() -> None:
    moved = torch.stack([AXES[0], AXES[1], torch.tensor([0.0, 0.6, 0.8])])
    table = prototype_table(made(moved), Codebook(AXES, L2))
    assert table["code"].tolist() == [0, 2]
    assert table["image_id"].tolist() == ["a.png", "d.png"]
    assert table[["row", "col"]].to_numpy().tolist() == [[0, 1], [1, 0]]
    assert table["nearest"].tolist() == pytest.approx([1.0, 0.8])
    assert table["patches"].tolist() == pytest.approx([0.75, 0.7])
    assert table["drift"].tolist() == pytest.approx([1.0, 0.8])
    numbers = grounding_numbers(table)
    assert (numbers.prototypes, numbers.near_share) == (2, 0.5)
    assert (numbers.nearest_mean, numbers.nearest_min) == pytest.approx((0.9, 0.8))
    assert (numbers.drift_mean, numbers.drift_min) == pytest.approx((0.9, 0.8))
    assert numbers.patches_mean == pytest.approx(0.725)


def test_codes_that_did_not_move_have_no_drift() -> None:
    assert prototype_table(made(AXES), Codebook(AXES, L2))["drift"].tolist() == [1.0, 1.0]


def test_drift_is_unknown_where_codes_were_taken_out() -> None:
    table = prototype_table(made(AXES), Codebook(torch.eye(3)[:2], L2))
    assert table["drift"].isna().all()
    numbers = grounding_numbers(table)
    assert (numbers.drift_mean, numbers.drift_min) == (None, None)
