"""The spec file, and which classes it gives."""

from itertools import combinations
from pathlib import Path

import pytest

from protoquant.core.errors import ConfigError, UsageError
from protoquant.data.partbirds.painting.palette import NAMED
from protoquant.data.partbirds.spec import DISTANCE, PARTS, VARIANTS, PartBirdsSpec, bird_classes, load_spec

SHIPPED = Path(__file__).parents[3] / "data" / "partbirds.yaml"


def parts_of(bird):
    return tuple(getattr(bird, part) for part in PARTS)


def differing(one, other):
    return sum(a != b for a, b in zip(parts_of(one), parts_of(other), strict=True))


def test_the_shipped_file_says_the_defaults_and_explains_each():
    assert load_spec(SHIPPED) == PartBirdsSpec()
    lines = SHIPPED.read_text().splitlines()
    keys = [line for line in lines if not line.startswith("#")]
    assert [line.split(":")[0] for line in keys] == list(PartBirdsSpec.model_fields)
    assert all("# " in line for line in keys)


@pytest.mark.parametrize("seed", [0, 1, 2, 97])
def test_classes_are_distinct_combinations_and_a_larger_number_begins_with_the_smaller(seed):
    largest = bird_classes(PartBirdsSpec(classes=200, seed=seed))
    assert len({parts_of(bird) for bird in largest}) == 200
    assert len({bird.name for bird in largest}) == 200
    assert [bird.index for bird in largest] == list(range(200))
    assert min(differing(one, other) for one, other in combinations(largest[:60], 2)) >= DISTANCE
    for classes in (2, 3, 7, 20, 119):
        assert bird_classes(PartBirdsSpec(classes=classes, seed=seed)) == largest[:classes]


def test_classes_are_fine_grained():
    """Every class has a relative that differs from it in two parts only."""
    birds = bird_classes(PartBirdsSpec(classes=20))
    nearest = [min(differing(bird, other) for other in birds if other is not bird) for bird in birds]
    assert nearest == [2] * 20


def test_seeds_choose_other_classes():
    assert bird_classes(PartBirdsSpec(seed=0)) != bird_classes(PartBirdsSpec(seed=1))


def test_names_sort_like_indices_and_fit_into_paths():
    names = [bird.name for bird in bird_classes(PartBirdsSpec(classes=200))]
    assert names == sorted(names)
    assert all(name.replace("_", "").isalnum() and name.isascii() for name in names)


def test_variants_of_a_part_are_distinct_and_use_known_colours():
    for part, variants in VARIANTS.items():
        assert len(set(variants)) == len(variants), part
        assert {variant.colour for variant in variants} | {variant.accent for variant in variants} <= set(NAMED)


def test_a_missing_key_takes_its_default(tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text("classes: 3\n")
    assert load_spec(file) == PartBirdsSpec(classes=3)
    file.write_text("")
    assert load_spec(file) == PartBirdsSpec()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: 201", r"classes must be an integer >= 2 and <= 200, got 201"),
        ("classes: 1", r"classes must be an integer >= 2"),
        ("classes: lots", r"classes must be an integer .*, got 'lots'"),
        ("train: 0", r"train must be an integer >= 1"),
        ("size: 32", r"size must be an integer >= 64"),
        ("seed: -1", r"seed must be an integer >= 0, got -1"),
        ("clases: 3", r"unknown key 'clases'; did you mean 'classes'\?"),
        ("- 3", r"must be a mapping of keys to values"),
        ("classes: [", r"is not YAML"),
    ],
)
def test_a_wrong_spec_is_one_line_that_names_key_and_file(tmp_path, text, message):
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_spec(file)
    assert "spec.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_missing_spec_names_the_setting(tmp_path, name):
    with pytest.raises(UsageError, match=r"no spec file at .*set prepare\.root"):
        load_spec(tmp_path / name)
