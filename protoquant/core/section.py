"""The base class of params sections, which turns validation errors into readable sentences."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from protoquant.core.errors import ConfigError, suggest

Schema = Mapping[str, Any]


class Section(BaseModel):
    """A frozen, strict section of params.yaml that refuses unknown keys.

    A subclass gives each field a default, a description and its bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: object, where: str = "", source: str = "params.yaml") -> Self:
        """Validate plain values, as read from YAML or JSON.

        Args:
            values: A mapping of keys to values; lists become tuples.
            where: Dotted name of the section, put before each key in an error.
            source: The file that an error names.

        Raises:
            ConfigError: One line for each problem: key, allowed values, value, nearest name.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{where or 'the file'} must be a mapping of keys to values, got {values!r} ({source})")
        try:
            text = json.dumps(values, default=str)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{where or 'the file'} must hold plain keys and values: {error} ({source})") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            schema = cls.model_json_schema()
            lines = [_sentence(schema, detail, where, source) for detail in _deepest(error.errors())]
            raise ConfigError("\n".join(dict.fromkeys(lines))) from error

    @classmethod
    def allowed(cls) -> dict[str, str]:
        """Describe the values that each key may hold, such as ``an integer >= 1``."""
        schema = cls.model_json_schema()
        return {name: _allowed(_resolve(schema, field)) for name, field in schema["properties"].items()}


def _deepest(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without what the other kinds of a value say of a list, or of a table of free keys, in which an item is wrong."""
    wrong = {detail["loc"][:-2] for detail in details if _of_an_item(detail["loc"])}
    return [
        detail for detail in details if detail["loc"][:-1] not in wrong or not isinstance(detail["input"], list | dict)
    ]


def _of_an_item(location: tuple[int | str, ...]) -> bool:
    """Whether a pydantic location is that of an item of a list, or of a table of free keys among other kinds."""
    of_list = len(location) > 0 and isinstance(location[-1], int)
    return of_list or (len(location) > 1 and str(location[-2]).startswith("dict["))


def _sentence(schema: Schema, detail: ErrorDetails, where: str, source: str) -> str:
    """Turn one pydantic error into a line that names key, allowed values, value and nearest name."""
    path, field = _locate(schema, [str(part) for part in detail["loc"]])
    key = ".".join(filter(None, [where, *path])) or "the file"
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        names = [name for member in [field, *field.get("anyOf", [])] for name in member.get("properties", {})]
        unknown = str(detail["loc"][-1])
        full = ".".join(filter(None, [where, *path, unknown]))
        return f"unknown key {full!r}{suggest(unknown, names)} ({source}); known here: {', '.join(names)}"
    if detail["type"] == "missing" and "properties" in field:
        return f"{key} is missing ({source})"
    if detail["type"] == "value_error":
        return f"{key}: {detail['ctx']['error']} ({source})"
    near = suggest(value, _words(field)) if isinstance(value, str) else ""
    return f"{key} must be {_allowed(field)}, got {value!r}{near} ({source})"


def _locate(schema: Schema, location: list[str]) -> tuple[list[str], Schema]:
    """Follow a pydantic location as far as the schema knows it.

    Returns:
        The keys that exist, and the schema of the last one. Tags that pydantic adds to tell the
        members of a union apart are skipped.
    """
    path, field = [], schema
    for part in location:
        for member in [field, *field.get("anyOf", [])]:
            if part in member.get("properties", {}):
                field = _resolve(schema, member["properties"][part])
            elif part.isdigit() and "items" in member:
                field = _resolve(schema, member["items"])
            else:
                continue
            path.append(part)
            break
    return path, field


def _resolve(schema: Schema, field: Schema) -> Schema:
    """Replace a reference to another model by that model's schema."""
    if "$ref" in field:
        found: Schema = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]
        return found
    if "anyOf" in field:
        return {**field, "anyOf": [_resolve(schema, member) for member in field["anyOf"]]}
    return field


def _words(field: Schema) -> Iterator[str]:
    """The words a field allows."""
    yield from (word for word in [*field.get("enum", []), field.get("const")] if isinstance(word, str))
    for member in field.get("anyOf", []):
        yield from _words(member)


def _allowed(field: Schema) -> str:
    """Describe the values that a field may hold."""
    if "anyOf" in field:
        return " or ".join(_allowed(member) for member in field["anyOf"])
    if "enum" in field:
        return "one of " + ", ".join(map(str, field["enum"]))
    if "const" in field:
        return repr(field["const"])
    if field.get("type") == "array":
        return "a list, each item " + _allowed(field["items"]) if "items" in field else "a list"
    noun = {
        "integer": "an integer",
        "number": "a number",
        "string": "a text",
        "boolean": "true or false",
        "null": "empty (null)",
    }.get(field.get("type", ""), "a mapping of keys to values")
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<", "pattern": "matching"}
    said = [f"{sign} {field[name]}" for name, sign in bounds.items() if name in field]
    return " ".join([noun, " and ".join(said)]).strip()
