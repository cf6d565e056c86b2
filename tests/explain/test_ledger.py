"""Accounts closed by hand."""

import pandas as pd
import pytest

from protoquant.core.errors import ArtifactError
from protoquant.explain.ledger import choose, ledger


def rows(*parts: tuple[int, int, float, float]) -> pd.DataFrame:
    """Contributions of one image from (class, code, score, weight)."""
    return pd.DataFrame(
        [
            {"class": c, "code": code, "score": s, "weight": w, "contribution": s * w, "row": 1, "col": code}
            for c, code, s, w in parts
        ],
        columns=["class", "code", "score", "weight", "contribution", "row", "col"],
    )


def test_largest_first_and_the_rest_is_one_sum() -> None:
    found = ledger(rows((0, 3, 0.5, 1.0), (0, 1, 0.5, 4.0), (0, 2, 0.25, 2.0), (1, 1, 1.0, 9.0)), 0, 3.0, 1)
    assert [(part.code, part.contribution) for part in found.parts] == [(1, 2.0)]
    assert (found.others, found.rest, found.logit) == (2, 1.0, 3.0)
    assert (found.parts[0].row, found.parts[0].col) == (1, 1)


def test_parts_and_rest_sum_to_the_logit() -> None:
    contributions = rows(*((0, code, 0.1 + code / 40, 1.3) for code in range(20)))
    logit = float(contributions["contribution"].sum())
    for shown in (1, 5, 20, 50):
        found = ledger(contributions, 0, logit, shown)
        assert sum(part.contribution for part in found.parts) + found.rest == pytest.approx(logit, abs=1e-12)
        assert len(found.parts) + found.others == 20


def test_contributions_below_a_hundredth_are_summed_but_one_is_always_shown() -> None:
    found = ledger(rows((0, 1, 1.0, 2.0), (0, 2, 0.01, 1.0)), 0, 2.01, 5)
    assert ([part.code for part in found.parts], found.others, found.rest) == ([1], 1, 0.01)
    assert len(ledger(rows((0, 1, 0.0, 2.0)), 0, 0.0, 5).parts) == 1


def test_equal_contributions_in_order_of_the_code() -> None:
    found = ledger(rows((0, 7, 1.0, 1.0), (0, 2, 1.0, 1.0)), 0, 2.0, 5)
    assert [part.code for part in found.parts] == [2, 7]


def test_an_account_that_does_not_close_is_refused() -> None:
    with pytest.raises(
        ArtifactError, match=r"contributions to class 0 must sum to the logit 2\.500000, they sum to 2\.0"
    ):
        ledger(rows((0, 1, 1.0, 2.0)), 0, 2.5, 3)


def test_a_class_without_prototypes_has_an_empty_account() -> None:
    found = ledger(rows((1, 1, 1.0, 2.0)), 0, 0.0, 3)
    assert (found.parts, found.others, found.rest) == ((), 0, 0.0)


def test_choice_is_spread_over_confidence() -> None:
    predictions = pd.DataFrame(
        {
            "label": [0] * 7 + [1, 1],
            "predicted": [0] * 9,
            "probability": [0.1, 0.9, 0.3, 0.5, 0.7, 0.2, 0.4, 0.6, 0.8],
        }
    )
    shown = choose(predictions, 3, 5)
    assert shown.right == (1, 6, 0)
    assert shown.wrong == (8, 7)
    assert choose(predictions, 1, 0).right == (1,)
    assert choose(predictions.iloc[[1, 4, 3, 6, 2, 5]], 4, 0).right == (0, 2, 3, 5)  # at 0, 5 / 3, 10 / 3 and 5
    assert choose(predictions, 0, 0) == choose(predictions.head(0), 4, 4)
