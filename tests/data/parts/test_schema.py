import pytest

from protoquant.core.errors import ArtifactError
from protoquant.data.parts.schema import PartSchema, mirrored_by_name


def test_a_left_part_is_mirrored_if_its_twin_is_a_part() -> None:
    names = ["left eye", "right eye", "left_wing", "right_wing", "left leg", "leftover", "rightover", "tail"]
    assert mirrored_by_name(names) == {"left eye": "right eye", "left_wing": "right_wing"}


def test_plain_values_give_the_schema_back() -> None:
    schema = PartSchema("masks", ("beak", "tail"), "body", {"a": "b"}, {"jay": {"beak": "long", "tail": "red"}})
    assert PartSchema.of_plain(schema.plain(), "schema.json") == schema
    assert PartSchema.of_plain(PartSchema().plain(), "schema.json").form is None


@pytest.mark.parametrize("values", [[], {}, {"form": None, "parts": []}, {**PartSchema().plain(), "more": 1}])
def test_other_values_are_one_line(values: object) -> None:
    with pytest.raises(ArtifactError, match=r"schema\.json must hold form, parts, body, mirrored, variants; run prep"):
        PartSchema.of_plain(values, "schema.json")
