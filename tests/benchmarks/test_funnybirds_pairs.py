import numpy as np
import pandas as pd
import pytest

from benchmarks.funnybirds_pairs import pairs

COLUMNS = [
    "synthetic_data_check_fixed",
    "preservation_check_fixed",
    "deletion_check_fixed",
    "distractibility_fixed",
    "single_deletion",
    "target_sensitivity",
]


def table(path, values: list[list[float]]):
    rows = pd.DataFrame(values, columns=COLUMNS)
    rows = pd.concat([rows.assign(explainer="map"), (rows * 0).assign(explainer="box")])
    rows.assign(image_id=[f"{number}.png" for number in range(len(values))] * 2).to_csv(path, index=False)
    return path


def test_scores_and_differences_by_hand(tmp_path) -> None:
    before = table(tmp_path / "before.csv", [[1, 0, 0.5, 0.5, 0.2, 0.4], [1, 0, 0.5, np.nan, 0.4, 0.4]])
    after = [
        table(tmp_path / "a.csv", [[1, 1, 1, 1.0, 0.5, 0.4], [1, 1, 1, np.nan, 0.7, 0.4]]),
        table(tmp_path / "b.csv", [[1, 0, 1, 1.0, 0.5, 0.4], [1, 1, 1, 0.0, 0.7, 0.4]]),
    ]
    found = pairs(after, [before]).set_index("score")
    # completeness before: ((1 + 0 + 0.5) / 3 + 0.5) / 2; after: ((1 + 0.75 + 1) / 3 + (1 + 0) / 2) / 2.
    assert found["before"].tolist() == pytest.approx([0.5, 0.3, 0.4, 0.4])
    assert found["after"].tolist() == pytest.approx([(2.75 / 3 + 0.5) / 2, 0.6, 0.4, ((2.75 / 3 + 0.5) / 2 + 1) / 3])
    assert found["difference"].tolist() == pytest.approx((found["after"] - found["before"]).tolist())
    assert found.loc["contrastivity", ["low", "high"]].tolist() == pytest.approx([0.0, 0.0])
    assert found.loc["correctness", ["low", "high"]].tolist() == pytest.approx([0.3, 0.3])
    assert found["n"].tolist() == [2] * 4
