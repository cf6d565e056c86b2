import numpy as np
import pytest
import torch

from benchmarks.drift import Drift, draw, summary, text, together
from benchmarks.protopnet import FreeHead
from benchmarks.steadiness import MEASURES, VIEWS, stays
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.evaluation.metrics.stability import Seen

pytestmark = pytest.mark.model


def drift(name, *, change=0.2, seed=0):
    rng = np.random.default_rng(seed)
    steady = np.full((4, len(VIEWS), len(MEASURES)), 1.0)
    steady[:, :, 0] = change
    steady[:, VIEWS.index("token noise"), 0] = 0.5
    return Drift(name, rng.uniform(0.5, 1.0, 6), rng.uniform(0.2, 1.0, 6), np.array([0.9]), steady)


def test_seeds_share_images_but_not_prototypes():
    (joined,) = together([[drift("x")], [drift("x", change=0.4, seed=1)]], ["photos", "photos"])
    assert (len(joined.nearest), len(joined.top1), len(joined.steady)) == (12, 2, 4)
    row = summary([joined]).iloc[0]
    assert row["change"] == pytest.approx(0.3)
    assert row["change_token_noise"] == pytest.approx(0.5)
    assert (row["prediction"], row["images"], row["seeds"]) == (1.0, 4, 2)


def test_table_and_figure(tmp_path):
    found = [drift(name) for name in "abcd"]
    assert len(text(summary(found)).splitlines()) == 10
    draw(found, "photos", tmp_path / "drift.png")
    assert (tmp_path / "drift.png").stat().st_size > 5_000


def test_change_is_a_share_of_the_difference_to_other_images():
    head = np.array([[1.0, 0.5, -0.5], [0.0, 0.0, 1.0]])

    def seen(*scores):
        return Seen(np.array(scores), np.zeros(3, dtype=np.int64), head @ np.array(scores))

    first = [seen(2.0, 2.0, 1.0), seen(1.0, 2.0, 9.0), seen(2.0, 2.0, 1.0)]  # the second: two share the first place
    other = [seen(4.0, 0.0, 1.0), seen(4.0, 1.0, 1.0), seen(4.0, 0.0, 1.0)]
    values = stays([first, other], head)
    assert values[0, 0].tolist() == [0.25, 0.0, 0.0, 1.0]
    assert values[0, 1].tolist() == [0.0, 1.0, 1.0, 1.0]
    assert values[1, 0, 0] == 0.0  # only the first prototype counts there, and it stays


def test_a_free_prototype_is_most_active_where_the_patch_is_its_own():
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])
    head = FreeHead(torch.eye(2), torch.eye(2), torch.eye(2), FeatureNorm("l2", None, None, None))
    activations, cells = head.look(tokens)
    assert cells.tolist() == [[0, 1]]
    assert activations.tolist() == [[pytest.approx(np.log(1e4))] * 2]
