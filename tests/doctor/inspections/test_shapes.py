import pytest

from protoquant.doctor.inspections.shapes import shapes
from tests.builders.photos import photo

USUAL = [photo(f"u{number:02d}", width=300 + number, height=300 + number) for number in range(20)]


def found(*photos):
    return {str(one.kind): [image.path for image in one.images] for one in shapes([*USUAL, *photos])}


def test_usual_photos_are_no_finding():
    assert found() == {}
    assert shapes([]) == []
    assert found(photo("a", width=224, height=672)) == {}  # just large enough, just not too long


@pytest.mark.parametrize(
    ("odd", "kinds"),
    [
        ({"width": 223}, {"low_resolution"}),
        ({"width": 300, "height": 901}, {"extreme_aspect"}),
        ({"width": 3_000, "height": 3_000}, {"size_outlier"}),
        ({"width": 64, "height": 64}, {"size_outlier", "low_resolution"}),
        ({"mode": "grey"}, {"odd_mode"}),
    ],
)
def test_an_odd_photo_is_found(odd, kinds):
    assert found(photo("x", **odd)) == {kind: ["x"] for kind in kinds}


def test_sizes_that_vary_much_make_no_outliers():
    assert shapes([photo(f"{n}", width=224 * n, height=224 * n) for n in range(1, 20)]) == []


def test_a_mode_of_many_is_none_of_a_few():
    many = [photo(f"g{number}", mode="grey") for number in range(3)]
    assert found(*many) == {}
    assert found(*many[:2]) == {"odd_mode": ["g0", "g1"]}
    (one,) = shapes([*USUAL, many[0]])
    assert one.sentence == "1 of 21 images are grey, while most are colour"
