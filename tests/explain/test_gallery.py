"""The choice of prototypes, by hand."""

import numpy as np
import pandas as pd

from protoquant.explain.gallery import gallery, times_used

NO_USE = pd.DataFrame({"images": {}, "carried": {}})
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
    found = gallery(
        HEAD, PROVENANCE, pd.DataFrame({"images": {0: 7}, "carried": {0: 0.25}}), per_class=5, at_most=50, patches=1
    )
    assert [(label, [one.code for one in group]) for label, group in found.groups] == [(0, [0, 4]), (1, [1, 3])]
    assert (found.total, found.shown) == (4, 4)
    first, second = found.groups[0][1][0], found.groups[1][1][0]
    assert (first.used, first.carried, second.used, second.carried) == (7, 0.25, 0, 0.0)
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


def test_use_counts_images_of_the_predicted_class_above_epsilon() -> None:
    predictions = pd.DataFrame({"image_id": ["a", "b", "c"], "predicted": [0, 1, 0], "logit": [0.501, 2.0, 1.0]})
    contributions = pd.DataFrame(
        {
            "image_id": ["a", "a", "a", "b", "c"],
            "class": [0, 0, 1, 1, 0],
            "code": [0, 1, 0, 0, 2],
            "contribution": [0.501, 0.001, 0.5, 0.5, 1.0],
        }
    )
    found = times_used(contributions, predictions, 0.001)
    assert found["images"].to_dict() == {0: 2, 2: 1}
    assert found["carried"].to_dict() == {0: 0.625, 2: 1.0}
