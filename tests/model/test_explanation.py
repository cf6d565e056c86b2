import json
from pathlib import Path

import numpy as np

from protoquant.model.explanation import Contribution, Explanation, TrainPatch
from protoquant.model.region import CellRegion


def test_an_explanation_is_plain_values_and_a_picture_its_path() -> None:
    patch = TrainPatch(0, "train/a.png", 1, "wren", (0, 2), 0.75, Path("bundle") / "crops" / "00003-0.png")
    bare = TrainPatch(1, "train/b.png", 1, "wren", (1, 0), 0.5, None)
    shares = np.array([[0.0, 0.25, 0.5]])
    region = CellRegion(0, 2, 1, 3)
    part = Contribution(3, 0.5, 2.0, 1.0, (0, 2), (2.0, 0.0, 3.0, 1.0), region, shares - 0.5, shares, (patch, bare))
    found = Explanation(
        1, "wren", 0, 0.25, 1.0, (part,), 3, 1, (0.0, 0.0, 3.0, 1.0), (1, 3), (0.0, -1.0, 3.0, 2.0)
    ).to_dict()
    assert json.loads(json.dumps(found)) == found
    (plain,) = found["contributions"]
    assert [patch["crop"] for patch in plain["patches"]] == [str(Path("bundle") / "crops" / "00003-0.png"), None]
    assert plain["region"] == [0, 2, 1, 3]
    assert (plain["presence"], plain["box"], found["grid"]) == ([[0.0, 0.25, 0.5]], [2.0, 0.0, 3.0, 1.0], [1, 3])
