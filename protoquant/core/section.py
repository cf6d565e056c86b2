"""The base of every params section, and the one place where its errors become sentences."""

import json
import types
import typing
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from protoquant.core.errors import ConfigError, suggest


class Section(BaseModel):
    """A frozen, strict section of params.yaml that refuses unknown keys.

    A subclass gives each field a default, a description and its bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: object, where: str = "", source: str = "params.yaml") -> Self:
        """Validate plain values, as read from YAML or JSON.

        Args:
            values: A mapping of keys to values.
            where: Dotted name of the section, put before each key in an error.
            source: The file that an error names.

        Returns:
            The validated section; lists become tuples.

        Raises:
            ConfigError: One line for each problem: key, value, allowed values, nearest name.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{where or 'the whole'} must be a mapping of keys to values, got {values!r} ({source})")
        try:
            return cls.model_validate_json(json.dumps(values, default=str))
        except ValidationError as error:
            lines = [_sentence(cls, detail, where, source) for detail in error.errors()]
            raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def _sentence(section: type[BaseModel], detail: ErrorDetails, where: str, source: str) -> str:
    """Turn one pydantic error into a line that names key, value, range and nearest name."""
    location = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        owner = _owner(section, location[:-1])
        key = ".".join(filter(None, [where, *location]))
        near = suggest(location[-1], owner.model_fields)
        names = ", ".join(owner.model_fields)
        return f"unknown key {key!r}{near} ({source}); known here: {names}"
    names_of_fields = [part for part in location if not part.startswith("function-")]
    key = ".".join(filter(None, [where, *_without_union_tags(section, names_of_fields)])) or "the whole"
    if detail["type"] == "missing":
        return f"{key} is missing ({source})"
    if detail["type"] == "value_error":
        return f"{key}: {detail['ctx']['error']} ({source})"
    value = detail["input"]
    near = ""
    if detail["type"] == "literal_error" and isinstance(value, str):
        near = suggest(value, _literals(section, location))
    reason = detail["msg"].removeprefix("Input ")
    return f"{key} {reason[0].lower()}{reason[1:]}, got {value!r}{near} ({source})"


def _owner(section: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """The model that holds the key at the end of a path."""
    for name in path:
        field = section.model_fields.get(name)
        inner = [kind for kind in _flat(field.annotation) if _is_model(kind)] if field else []
        if not inner:
            return section
        section = inner[0]
    return section


def _without_union_tags(section: type[BaseModel], path: list[str]) -> list[str]:
    """Drop what pydantic adds to a location to tell the members of a union apart."""
    kept: list[str] = []
    for part in path:
        owner = _owner(section, kept)
        if not kept or part.isdigit() or part in owner.model_fields:
            kept.append(part)
    return kept


def _literals(section: type[BaseModel], path: list[str]) -> list[str]:
    """The allowed words of the field at a path."""
    field = _owner(section, path[:-1]).model_fields.get(path[-1])
    if field is None:
        return []
    return [str(word) for kind in _flat(field.annotation) if get_origin(kind) is Literal for word in get_args(kind)]


def _flat(annotation: Any) -> list[Any]:
    """The members of a union, or the annotation itself."""
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for member in get_args(annotation) for kind in _flat(member)]
    return [annotation]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
