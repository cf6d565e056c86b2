import pytest

from protoquant.doctor.inspections.copies import copies
from tests.builders.photos import photo


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ({}, {}, "duplicate"),
        ({}, {"split": "test"}, "duplicate_across_splits"),
        ({}, {"class_name": "bee"}, "label_conflict"),
        ({}, {"class_name": "bee", "split": "test"}, "label_conflict"),
        ({"split": None}, {"split": None}, "duplicate"),
    ],
)
def test_equal_pixels_are_of_the_gravest_kind_that_holds(one, other, kind):
    (found,) = copies([photo("b", pixels=b"1", **other), photo("a", pixels=b"1", **one), photo("c", pixels=b"2")])
    assert found.kind == kind
    assert [image.path for image in found.images] == ["a", "b"]


def test_the_sentence_names_labels_and_splits():
    (found,) = copies([photo("a", pixels=b"1"), photo("b", pixels=b"1", class_name="bee", split="test")])
    assert found.sentence == "2 files with the same pixels, labelled 'ant' and 'bee' in train and test"
