"""The form: drawn from the sections' own fields, filled from params.yaml."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.form import FIELDS, RunOptions, experiment_form
from flows.promote import Candidate
from protoquant.data.readers.registry import READERS
from protoquant.settings.settings import Settings, read_params

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
    assert schema["properties"]["reader"]["enum"] == list(READERS)
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


def test_the_form_of_a_promotion_takes_a_version_and_no_empty_reason() -> None:
    schema = Candidate.model_json_schema()
    assert all(field["description"] for field in schema["properties"].values())
    assert schema["additionalProperties"] is False
    filled = Candidate()
    assert (filled.model, filled.force) == ("models:/protoquant@challenger", None)
    assert filled.words("models:/protoquant/3") == ["protoquant", "registry", "promote", "--", "models:/protoquant/3"]
    forced = Candidate(model="models:/birds/3", force="it names owls rightly")
    assert forced.words(forced.model)[3:5] == ["--force", "--reason=it names owls rightly"]


@pytest.mark.parametrize(
    "wrong",
    [{"model": "runs:/ab/model"}, {"model": "models:/birds/latest"}, {"force": ""}, {"force": "  "}, {"forse": "x"}],
)
def test_an_impossible_promotion_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Candidate.model_validate(wrong)
