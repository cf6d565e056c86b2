import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_sample_weight

from protoquant.core.errors import ConfigError
from protoquant.head.class_weights import ClassWeights, balanced_accuracy, effective_images, mean_cross_entropy

LABELS = torch.tensor([0, 1, 0, 0])
NAMES = ("robin", "wren", "owl")
some_labels = st.lists(st.integers(0, 3), min_size=1, max_size=30).map(torch.tensor)


def test_balanced_weights_by_hand() -> None:
    """Two of three classes have images: n / (m * n_j) is 4 / (2 * 3) and 4 / (2 * 1)."""
    assert ClassWeights(3).of_images(LABELS).tolist() == pytest.approx([2 / 3, 2.0, 2 / 3, 2 / 3])


def test_a_table_is_divided_by_its_mean_over_the_images() -> None:
    """Weights 1, 3, 1, 1 have the mean 1.5; the class without images counts for nothing."""
    found = ClassWeights(3, (1.0, 3.0, 100.0)).of_images(LABELS)
    assert found.tolist() == pytest.approx([2 / 3, 2.0, 2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("weights", "labels"), [(ClassWeights(3, (0.1, 0.1, 7.0)), LABELS), (ClassWeights(3), torch.tensor([0, 2, 2, 0]))]
)
def test_where_all_images_weigh_the_same_there_are_no_weights(weights: ClassWeights, labels: torch.Tensor) -> None:
    assert weights.of_images(labels) is None


@given(labels=some_labels)
def test_balanced_weights_are_those_of_scikit_learn(labels: torch.Tensor) -> None:
    found = ClassWeights(4).of_images(labels)
    expected = compute_sample_weight("balanced", labels.numpy())
    np.testing.assert_allclose(np.ones(len(labels)) if found is None else found.numpy(), expected, rtol=1e-12)


@given(labels=some_labels, table=st.tuples(*[st.floats(0.01, 100.0)] * 4), factor=st.floats(0.01, 100.0))
def test_the_mean_is_1_and_a_common_factor_changes_nothing(labels, table, factor) -> None:
    found = ClassWeights(4, table).of_images(labels)
    scaled = ClassWeights(4, tuple(factor * weight for weight in table)).of_images(labels)
    ones = torch.ones(len(labels), dtype=torch.float64)
    found, scaled = (ones if weights is None else weights for weights in (found, scaled))
    assert float(found.mean()) == pytest.approx(1.0)
    torch.testing.assert_close(scaled, found)


def test_the_setting_is_read_by_the_names_of_the_classes() -> None:
    assert ClassWeights.of("none", NAMES) is None
    assert ClassWeights.of("balanced", NAMES) == ClassWeights(3)
    table = ClassWeights.of({"owl": 3.0, "wren": 2.0, "robin": 1.0}, NAMES)
    assert table == ClassWeights(3, (1.0, 2.0, 3.0))
    assert table.judging == ClassWeights(3)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"robin": 1.0, "wern": 1.0, "owl": 1.0},
            "train.class_weights: there is no class 'wern'; did you mean 'wren'? (params.yaml)",
        ),
        ({"robin": 1.0, "owl": 2.0}, "train.class_weights must name every class, 'wren' is missing (params.yaml)"),
        (
            {"owl": 2.0},
            "train.class_weights must name every class, 'robin' and 1 more are missing (params.yaml)",
        ),
    ],
)
def test_a_table_that_does_not_name_the_classes_is_refused_in_one_line(table, said) -> None:
    with pytest.raises(ConfigError) as refused:
        ClassWeights.of(table, NAMES)
    assert str(refused.value) == said


@given(labels=some_labels, seed=st.integers(0, 1000))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_balanced_accuracy_is_that_of_scikit_learn(labels: torch.Tensor, seed: int) -> None:
    logits = torch.rand(len(labels), 4, generator=torch.Generator().manual_seed(seed))
    expected = balanced_accuracy_score(labels.numpy(), logits.argmax(dim=1).numpy())
    assert balanced_accuracy(logits, labels) == pytest.approx(expected)


@given(labels=some_labels, table=st.tuples(*[st.floats(0.01, 100.0)] * 4))
def test_the_weighted_mean_is_that_of_torch(labels: torch.Tensor, table: tuple[float, ...]) -> None:
    logits = torch.rand(len(labels), 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=torch.tensor(table, dtype=torch.float64))
    found = mean_cross_entropy(logits, labels, ClassWeights(4, table).of_images(labels))
    torch.testing.assert_close(found, expected)


def test_images_that_weigh_more_are_worth_fewer() -> None:
    """Balanced over 3 and 1 images the variance of a mean is that of c^2 / sum(1 / n_j) = 4 / (1 / 3 + 1) images."""
    assert effective_images(ClassWeights(2).of_images(LABELS), 4) == pytest.approx(3.0)
    assert effective_images(None, 4) == 4.0
