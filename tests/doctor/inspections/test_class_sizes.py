from protoquant.doctor.inspections.class_sizes import class_sizes
from tests.builders.photos import photo


def counts(**train: int) -> dict[str, dict[str, int]]:
    return {name: {"train": n, "validation": 2, "test": 2} for name, n in train.items()}


def kinds(findings):
    return [str(one.kind) for one in findings]


def test_a_class_is_tiny_below_five_train_images():
    found = class_sizes(counts(ant=4, bee=5), [photo("a"), photo("b", class_name="bee")], splits_known=True)
    assert kinds(found) == ["tiny_class"]
    assert found[0].sentence == "class 'ant' has 4 train images; parts need 5 or more"
    assert [image.path for image in found[0].images] == ["a"]


def test_a_split_without_a_class_is_told_where_splits_are_known():
    of = counts(ant=9) | {
        "bee": {"train": 9, "validation": 0, "test": 0},
        "cat": {"train": 0, "validation": 1, "test": 1},
    }
    found = class_sizes(of, [], splits_known=True)
    assert [one.sentence for one in found] == [
        "class 'bee' has no image in validation and test",
        "class 'cat' has no image in train",
    ]
    assert class_sizes(of, [], splits_known=False) == []


def test_classes_are_unequal_from_a_ratio_of_ten():
    assert class_sizes(counts(ant=99, bee=10), [], splits_known=True) == []
    (found,) = class_sizes(counts(ant=100, bee=10), [], splits_known=True)
    assert (found.kind, found.number, found.chance) == ("imbalance", 10.0, 1.0)
    assert (
        found.sentence == "the largest class in train, 'ant' with 100 images, is 10 times the smallest, 'bee' with 10"
    )
