from dataclasses import replace

import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.evaluation.metrics.grounding import grounding_numbers, mixture_gap, prototype_table
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle
from protoquant.model.grounded import EXACT
from tests.builders.bundles import bundle
from tests.builders.tokens import write_split

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


def test_the_gap_of_mixtures_is_read_from_the_train_features(tmp_path) -> None:
    """Code 0 is 3/4 of one patch and 1/4 of another, code 2 a single patch; a third patch is only near."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 4, 3, generator=generator).half()
    write_split(tmp_path / "train", tokens, torch.tensor([0, 1]), grid=(2, 2))
    store = FeatureStore.open(tmp_path / "train")
    first, second = store.image_ids
    units = torch.nn.functional.normalize(tokens.float(), dim=2)
    mixed = torch.nn.functional.normalize(0.75 * units[0, 1] + 0.25 * units[1, 2], dim=0)
    codes = torch.stack([mixed, AXES[1], units[1, 3]])
    patches = [
        (0, 0, first, 0, 0, 1, 0.9),
        (0, 1, second, 1, 1, 0, 0.8),
        (0, 2, second, 1, 0, 0, 0.7),
        (2, 0, second, 1, 1, 1, 1.0),
    ]
    one = bundle(codes, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]), grid=(2, 2), patches=patches)
    weighted = replace(one, provenance=one.provenance.assign(weight=[0.75, 0.25, 0.0, 1.0]))
    assert mixture_gap(weighted, store)[1] <= EXACT
    code, gap = mixture_gap(replace(one, provenance=one.provenance.assign(weight=[0.7, 0.3, 0.0, 1.0])), store)
    assert code == 0
    assert 0.001 < gap < 0.2
    elsewhere = weighted.provenance.assign(image_id=[first, "gone", second, second])
    assert mixture_gap(replace(weighted, provenance=elsewhere), store)[0] == 0
    with pytest.raises(ValueError, match="only codes that are mixtures"):
        mixture_gap(replace(one, provenance=one.provenance.assign(weight=0.0)), store)
