"""The choice of prototypes, by hand."""

import numpy as np
import pandas as pd

from protoquant.explain.gallery import Example, gallery, speaking

COLUMNS = ["image_id", "class", "code", "score", "contribution", "row", "col", "share"]
NO_USE = pd.DataFrame({name: [] for name in COLUMNS})


def spoken(code: int, contributions: list[float]) -> pd.DataFrame:
    """Rows of one prototype, in images a, b, c, ... of class 2."""
    rows = [("abcdefghij"[at], 2, code, one / 4, one, at, at + 1, one / 2) for at, one in enumerate(contributions)]
    return pd.DataFrame(rows, columns=COLUMNS)


HEAD = np.array(
    [
        [3.0, 1.0, 0.0, 0.0, 0.5],
        [0.0, 2.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 0.5, 0.0],
    ]
)
PROVENANCE = pd.DataFrame(
    [
        {
            "code": code,
            "rank": rank,
            "image_id": f"train/{code}-{rank}",
            "label": 0,
            "row": 0,
            "col": rank,
            "cosine": 0.5,
        }
        for code in (0, 1, 3, 4)
        for rank in (1, 0)
    ]
)


def test_each_prototype_stands_under_its_heaviest_class() -> None:
    found = gallery(HEAD, PROVENANCE, spoken(0, [0.75, 0.5, 0.25]), per_class=5, at_most=50, patches=1)
    assert [(label, [one.code for one in group]) for label, group in found.groups] == [(0, [0, 4]), (1, [1, 3])]
    assert (found.total, found.shown) == (4, 4)
    first, second = found.groups[0][1][0], found.groups[1][1][0]
    assert (first.used, first.carried, second.used, second.carried) == (3, 0.25, 0, 0.0)
    assert second.classes == ((1, 2.0), (0, 1.0))
    assert [patch.image_id for patch in first.patches] == ["train/0-0"]


def test_limits_keep_the_heaviest_of_every_class() -> None:
    assert gallery(HEAD, PROVENANCE, NO_USE, per_class=1, at_most=50, patches=1).shown == 2
    found = gallery(HEAD, PROVENANCE, NO_USE, per_class=5, at_most=3, patches=1)
    assert [(label, [one.code for one in group]) for label, group in found.groups] == [(0, [0, 4]), (1, [1])]
    assert found.total == 4


def test_where_there_is_no_room_each_class_has_its_heaviest_before_any_has_two() -> None:
    found = gallery(HEAD, PROVENANCE, NO_USE, per_class=5, at_most=2, patches=1)
    assert [(label, [one.code for one in group]) for label, group in found.groups] == [(0, [0]), (1, [1])]


def test_shown_are_the_strongest_the_weakest_and_one_between_them() -> None:
    def shown(contributions: list[float]) -> tuple[Example, ...]:
        found = gallery(HEAD, PROVENANCE, spoken(0, contributions), per_class=5, at_most=50, patches=1)
        return found.groups[0][1][0].examples

    strongest, between, weakest = shown([0.9, 0.8, 0.7, 0.6, 0.2])
    assert strongest == Example("strongest", "a", 2, 0, 1, 0.9 / 4)
    assert weakest == Example("weakest", "e", 2, 4, 5, 0.2 / 4)
    assert between.kind == "at random"
    assert between.image_id in {"b", "c", "d"}
    assert [one.kind for one in shown([0.9, 0.2])] == ["strongest", "weakest"]
    assert [one.kind for one in shown([0.9])] == ["strongest"]
    assert shown([]) == ()


def test_a_prototype_speaks_in_images_of_the_predicted_class_above_epsilon() -> None:
    predictions = pd.DataFrame({"image_id": ["a", "b", "c"], "predicted": [0, 1, 0], "logit": [0.501, 2.0, 1.0]})
    contributions = pd.DataFrame(
        {
            "image_id": ["a", "a", "a", "b", "c"],
            "class": [0, 0, 1, 1, 0],
            "code": [0, 1, 0, 0, 2],
            "contribution": [0.501, 0.001, 0.5, 0.7, 1.0],
        }
    )
    found = speaking(contributions, predictions, 0.001)
    assert found[["code", "image_id", "share"]].to_numpy().tolist() == [[0, "b", 0.35], [0, "a", 1.0], [2, "c", 1.0]]
