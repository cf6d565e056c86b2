"""The form: drawn from the sections' own fields, filled from params.yaml."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.form import FIELDS, RunOptions, experiment_form
from protoquant.settings import Settings, read_params

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def form() -> type[RunOptions]:
    return experiment_form(ROOT)


def test_every_field_is_bounded_described_and_filled(form: type[RunOptions]) -> None:
    schema = form.model_json_schema()
    params = read_params(ROOT / "params.yaml")
    for name, key in FIELDS.items():
        field = schema["properties"][name]
        section, _, last = key.rpartition(".")
        assert field["title"] == key
        assert field["description"]
        assert field["default"] == (params[section][last] if section else params[last])
    assert schema["properties"]["reader"]["enum"] == ["partbirds", "image_folder", "table", "webdataset"]
    assert schema["properties"]["size"]["minimum"] == 1
    assert schema["additionalProperties"] is False


def test_what_is_given_is_written_and_the_rest_stays(form: type[RunOptions]) -> None:
    given = form.model_validate({"size": 12, "overrides": {"train.refit": 0.5, "quantize.size": 14}})
    assert given.changes() == {"quantize.size": 14, "train.refit": 0.5}
    assert form.model_validate({}).changes() == {}


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"reader": "folder"}, {"tolerance": 2}, {"sise": 3}, {"uncommitted": "ask"}, {"name": "a b"}]
)
def test_impossible_values_are_refused(form: type[RunOptions], wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        form.model_validate(wrong)


def test_every_key_exists() -> None:
    values = Settings.load(ROOT / "params.yaml").model_dump(by_alias=True)
    for key in FIELDS.values():
        section, _, name = key.rpartition(".")
        assert name in (values[section] if section else values)
