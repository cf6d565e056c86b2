import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.model.contributions import Contributions, Part
from protoquant.model.head import contributions, head_logits


def test_by_hand() -> None:
    scores, cells = torch.tensor([0.5, 0.25, 0.75, 1.0]), torch.tensor([5, 0, 2, 3])
    found = Contributions.to_class(scores, cells, torch.tensor([2.0, 8.0, 0.0, 0.5]), 3)
    assert list(found.parts()) == [
        Part(1, 0.25, 8.0, 2.0, (0, 0)),
        Part(0, 0.5, 2.0, 1.0, (1, 2)),
        Part(3, 1.0, 0.5, 0.5, (1, 0)),
    ]
    assert [part.code for part in found.parts(2)] == [1, 0]
    assert list(found.parts(0)) == []
    assert [(part.row, part.col) for part in found.parts()] == [part.cell for part in found.parts()]


def test_of_equals_the_lower_code_comes_first_and_a_prototype_that_is_not_seen_stays() -> None:
    scores, weights = torch.tensor([0.0, 0.5, 1.0, 0.5]), torch.tensor([3.0, 2.0, 1.0, 2.0])
    found = Contributions.to_class(scores, torch.zeros(4, dtype=torch.int64), weights, 1)
    assert found.code.tolist() == [1, 2, 3, 0]
    assert found.contribution.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_a_class_without_prototypes_has_no_contributions() -> None:
    found = Contributions.to_class(torch.ones(3), torch.zeros(3, dtype=torch.int64), torch.zeros(3), 1)
    assert (len(found.code), list(found.parts())) == (0, [])


@given(st.integers(0, 10_000), st.integers(1, 200))
def test_they_are_the_products_largest_first_and_sum_to_the_logit(seed: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (k,), generator=generator) / 3  # many equals
    weights = torch.randint(0, 3, (k,), generator=generator) / 7
    found = Contributions.to_class(scores, torch.arange(k), weights, 5)
    products = contributions(scores.double()[None], weights.double()[None], torch.tensor([0]))[0]
    used = weights.nonzero().flatten()
    assert found.code.tolist() == used[products[used].argsort(descending=True, stable=True)].tolist()
    assert found.contribution.tolist() == products[found.code].tolist()
    logit = head_logits(scores.double()[None], weights.double()[None])
    assert found.contribution.sum() == pytest.approx(float(logit), rel=1e-12)


def test_a_table_of_them_is_read_in_any_order() -> None:
    scores, weights = torch.rand(9, generator=torch.Generator().manual_seed(1)), torch.ones(9)
    found = Contributions.to_class(scores, torch.arange(9), weights, 4)
    table = pd.DataFrame({"image": 0, "class": 1, **vars(found)})
    assert table.dtypes.astype(str).to_dict() == {
        **dict.fromkeys(("image", "class", "code"), "int64"),
        **dict.fromkeys(("score", "weight", "contribution"), "float64"),
        **dict.fromkeys(("row", "col"), "int32"),
    }
    for name, column in vars(Contributions.of_table(table.sample(frac=1, random_state=2))).items():
        np.testing.assert_array_equal(column, getattr(found, name))
