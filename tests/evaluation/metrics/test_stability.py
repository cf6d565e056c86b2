"""What stays, by hand, and the whole way through a small real backbone."""

import numpy as np
import pytest
import torch

from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.prepare import prepare
from protoquant.data.table import ImageTable
from protoquant.evaluation.changes.perturb import PERTURBATIONS
from protoquant.evaluation.metrics import stability
from protoquant.evaluation.metrics.stability import MEASURES, Seen, Stability, compare, measure_stability
from protoquant.features.backbone.backbone import Backbone
from protoquant.model.bundle import Bundle
from tests.builders.backbones import load_backbone
from tests.builders.bundles import bundle
from tests.builders.pictures import picture, write_classes

pytestmark = pytest.mark.model

HEAD = np.array([[4.0, 2.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0, 3.0]])


def seen(scores: list[float], cells: list[int]) -> Seen:
    return Seen(np.array(scores), np.array(cells), HEAD @ np.array(scores))


BEFORE = seen([0.5, 0.4, 0.3, 0.002, 0.1], [1, 2, 3, 4, 5])


def test_nothing_changed() -> None:
    kept = compare(BEFORE, BEFORE, HEAD, 0.001)
    assert kept == stability.ExplanationAgreement(0.0, 1.0, 1.0, 1.0, 1.0)


def test_what_changes_is_counted_by_hand() -> None:
    # Contributions to class 0: 2.0, 0.8, 0.3, 0.001 before; 0.4, 0.8, 0.3, 0.45 after, of logit 1.95 against 0.9.
    after = seen([0.1, 0.4, 0.3, 0.9, 0.3], [7, 2, 3, 4, 5])
    kept = compare(BEFORE, after, HEAD, 0.001)
    # The fourth contributes no more than epsilon: three prototypes count, one changed by 0.4.
    assert kept.presence_change == pytest.approx(0.4 / 3)
    assert (kept.prediction, kept.top_prototype, kept.top3, kept.cell) == (1.0, 0.0, 0.0, 0.0)
    assert compare(BEFORE, after, HEAD, 0.0).presence_change == pytest.approx((0.4 + 0.898) / 4)


def test_order_within_the_three_does_not_matter_and_the_class_is_the_first_one() -> None:
    after = seen([0.2, 0.45, 0.3, 0.0, 0.9], [1, 2, 3, 4, 5])
    kept = compare(BEFORE, after, HEAD, 0.001)
    assert (kept.prediction, kept.top_prototype, kept.top3, kept.cell) == (0.0, 0.0, 1.0, 1.0)


def test_of_fewer_than_three_that_count_only_these_are_compared() -> None:
    """Codes 0 and 1 count; which of the others comes third is of no interest."""
    before, after = (
        seen([0.5, 0.4, 0.0, 0.001, 0.0], [1, 2, 3, 4, 5]),
        seen([0.5, 0.4, 0.0005, 0.0, 0.0], [1, 2, 3, 4, 5]),
    )
    assert compare(before, after, HEAD, 0.001).top3 == 1.0


def test_of_an_image_that_nothing_speaks_for_no_prototype_stays() -> None:
    faint = seen([0.0001, 0.0, 0.0, 0.0, 0.0], [0] * 5)
    assert compare(faint, faint, HEAD, 0.001) == stability.ExplanationAgreement(0.0, 1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([0.25, 0.5, 0.1, 0.0, 0.0], [0.5, 0.4, 0.1, 0.0, 0.0], id="before"),
        pytest.param([0.5, 0.4, 0.1, 0.0, 0.0], [0.25, 0.5, 0.1, 0.0, 0.0], id="after"),
        pytest.param([0.25, 0.5, 0.1, 0.0, 0.0], [0.25, 0.5, 0.1, 0.0, 0.0], id="before and after"),
    ],
)
def test_a_prototype_that_shares_the_first_place_does_not_stay_first(before: list[float], after: list[float]) -> None:
    """Contributions 1.0 and 1.0 of the first two codes, and 0.1 of the third, whatever their order."""
    cells = [1, 2, 3, 4, 5]
    kept = compare(seen(before, cells), seen(after, cells), HEAD, 0.001)
    assert (kept.prediction, kept.top_prototype, kept.top3) == (1.0, 0.0, 1.0)
    assert kept.cell == float(before[0] > 0.25)  # without a first prototype there is no cell to stay in


def test_a_third_place_that_is_shared_leaves_open_which_three_they_are() -> None:
    shared, clear = (seen([0.5, 0.4, score, 0.2, 0.0], [1, 2, 3, 4, 5]) for score in (0.1, 0.3))
    for before, after in ((shared, shared), (shared, clear), (clear, shared)):
        kept = compare(before, after, HEAD, 0.001)
        assert (kept.top_prototype, kept.top3) == (1.0, 0.0)
    assert compare(clear, clear, HEAD, 0.001).top3 == 1.0


def test_table_and_image_means() -> None:
    values = np.zeros((2, len(PERTURBATIONS), len(MEASURES)))
    values[0, 0, MEASURES.index("prediction")] = 1.0
    found = Stability(values)
    table = found.table()
    assert table.columns.tolist() == ["perturbation", "n", *MEASURES]
    assert table["perturbation"].tolist() == list(PERTURBATIONS)
    assert table["prediction"].tolist() == [0.5, 0.0, 0.0, 0.0, 0.0]
    assert found.of_images("prediction").tolist() == pytest.approx([1 / len(PERTURBATIONS), 0.0])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Backbone, ImageTable]:
    """A backbone with random weights, codes that are patches of one picture, and three test images."""
    folder = tmp_path_factory.mktemp("stability")
    backbone = load_backbone(folder, "test_resnet", input_size=(64, 96))
    write_classes(folder / "photos", {"train": 1, "validation": 1, "test": 2}, ("class0", "class1"), picture)
    prepare(
        PrepareConfig(reader="image_folder"),
        root=folder / "photos",
        out=folder / "images",
        parts=folder / "parts",
        seed=0,
        on_event=ignore,
    )
    table = ImageTable.open(folder / "images", folder / "photos").split("test")
    tokens = backbone.features(backbone.batch([table.image(table.frame["image_id"][0])])).tokens[0]
    codes = torch.nn.functional.normalize(tokens[torch.linspace(0, len(tokens) - 1, 5).long()])
    head = torch.tensor(HEAD, dtype=torch.float32)
    made = bundle(codes, head, temperature=0.05, classes=table.classes, grid=backbone.grid, backbone=backbone.spec)
    return made, backbone, table


def measured(world: tuple[Bundle, Backbone, ImageTable], *positions: int, seed: int = 0) -> np.ndarray:
    made, backbone, table = world
    ids = [table.frame["image_id"][position] for position in positions]
    return measure_stability(made, backbone, table, ids, epsilon=1e-3, seed=seed, on_event=ignore).values


def test_images_are_measured_each_for_itself(world: tuple[Bundle, Backbone, ImageTable]) -> None:
    together = measured(world, 0, 1, 2)
    assert together.shape == (3, len(PERTURBATIONS), len(MEASURES))
    assert np.array_equal(together[[2, 0]], measured(world, 2, 0))
    assert np.array_equal(together[[1]], measured(world, 1))
    assert (together[:, :, MEASURES.index("presence_change")] > 0).all()
    assert not np.array_equal(together, measured(world, 0, 1, 2, seed=1))


def test_no_change_keeps_everything(
    world: tuple[Bundle, Backbone, ImageTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        stability, "PERTURBATIONS", {"none": lambda image, preprocessing, _: preprocessing.apply(image)}
    )
    found = measured(world, 0, 1)[:, 0]
    assert found[:, 0] == pytest.approx([0.0, 0.0], abs=1e-5)
    assert found[:, 1:].tolist() == [[1.0] * 4] * 2


def test_measuring_changes_neither_backbone_nor_codes(world: tuple[Bundle, Backbone, ImageTable]) -> None:
    made, backbone, _ = world
    before = backbone.state_digest(), made.codebook.codes.clone(), made.head.clone()
    measured(world, 0)
    assert backbone.state_digest() == before[0]
    assert torch.equal(made.codebook.codes, before[1])
    assert torch.equal(made.head, before[2])
