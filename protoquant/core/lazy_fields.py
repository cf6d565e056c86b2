"""Lazy fields of frozen dataclasses, made on first access, for tables that a verb may never read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
Class = TypeVar("Class", bound=type[Any])


class _Later(Generic[T]):
    """Holds the function that makes a value."""

    def __init__(self, make: Callable[[], T]) -> None:
        self.make = make


class _Field:
    """Descriptor that keeps the value of a field and makes it on first access."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        held = vars(instance)[self._name]
        if isinstance(held, _Later):
            held = vars(instance)[self._name] = held.make()
        return held

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self._name] = value


def later(make: Callable[[], T]) -> T:
    """Stand in for the value that ``make`` returns, in a field named in :func:`may_come_later`.

    Args:
        make: Called once, on first access to the field; its errors are raised there.
    """
    return cast("T", _Later(make))


def may_come_later(*names: str) -> Callable[[Class], Class]:
    """Let fields of a dataclass take :func:`later`; this decorator goes above ``dataclass``.

    Args:
        names: Names of the fields.
    """

    def with_fields(of: Class) -> Class:
        for name in names:
            setattr(of, name, _Field(name))
        return of

    return with_fields
