"""Errors of params sections: one line with key, allowed values, value and nearest name."""

from typing import Literal

import pytest
from pydantic import Field

from protoquant.core.errors import ConfigError
from protoquant.core.section import Section


class Inner(Section):
    depth: int = Field(1, ge=1)


class Example(Section):
    size: int = Field(10, ge=1, le=100)
    share: float = Field(0.2, gt=0, lt=1)
    seeding: Literal["random", "kmeans++"] = "random"
    temperatures: tuple[float, ...] = (0.1,)
    weights: float | tuple[float, ...] = 1.0
    patience: int | Literal["auto"] = "auto"
    note: str | None = None
    inner: Inner = Inner()
    other: Inner | None = None


def test_values_become_typed_and_lists_tuples() -> None:
    parsed = Example.parse({"size": 3, "temperatures": [1, 0.5], "patience": 4, "inner": {"depth": 2}})
    assert parsed.temperatures == (1.0, 0.5)
    assert (parsed.size, parsed.patience, parsed.inner.depth) == (3, 4, 2)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"size": -3}, "quantize.size must be an integer >= 1 and <= 100, got -3 (params.yaml)"),
        ({"size": "lots"}, "quantize.size must be an integer >= 1 and <= 100, got 'lots' (params.yaml)"),
        ({"size": True}, "quantize.size must be an integer >= 1 and <= 100, got True (params.yaml)"),
        ({"share": float("nan")}, "quantize.share must be a number > 0 and < 1, got nan (params.yaml)"),
        (
            {"seeding": "randm"},
            "quantize.seeding must be one of random, kmeans++, got 'randm'; did you mean 'random'? (params.yaml)",
        ),
        (
            {"patience": "aut"},
            "quantize.patience must be an integer or 'auto', got 'aut'; did you mean 'auto'? (params.yaml)",
        ),
        ({"temperatures": [0.1, "x"]}, "quantize.temperatures.1 must be a number, got 'x' (params.yaml)"),
        ({"temperatures": [float("inf")]}, "quantize.temperatures.0 must be a number, got inf (params.yaml)"),
        ({"temperatures": 3}, "quantize.temperatures must be a list, each item a number, got 3 (params.yaml)"),
        ({"weights": [1, "x"]}, "quantize.weights.1 must be a number, got 'x' (params.yaml)"),
        ({"weights": "x"}, "quantize.weights must be a number or a list, each item a number, got 'x' (params.yaml)"),
        ({"note": 3}, "quantize.note must be a text or empty (null), got 3 (params.yaml)"),
        ({"other": {"depth": 0}}, "quantize.other.depth must be an integer >= 1, got 0 (params.yaml)"),
        (
            {"other": {"deep": 2}},
            "unknown key 'quantize.other.deep'; did you mean 'depth'? (params.yaml); known here: depth",
        ),
        ({"inner": 3}, "quantize.inner must be a mapping of keys to values, got 3 (params.yaml)"),
        (
            {"inner": {"deep": 2}},
            "unknown key 'quantize.inner.deep'; did you mean 'depth'? (params.yaml); known here: depth",
        ),
        (3, "quantize must be a mapping of keys to values, got 3 (params.yaml)"),
    ],
)
def test_a_wrong_value_is_one_sentence(values: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Example.parse(values, "quantize")
    assert str(caught.value) == sentence


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"^unknown key 'sise'; did you mean 'size'\? \(params.yaml\); known here: size"
    ):
        Example.parse({"sise": 3})


def test_every_problem_has_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        Example.parse({"size": 0, "share": 2})
    assert len(str(caught.value).splitlines()) == 2


def test_what_a_key_may_hold_is_said_in_words() -> None:
    assert Example.allowed()["size"] == "an integer >= 1 and <= 100"
    assert Example.allowed()["patience"] == "an integer or 'auto'"
