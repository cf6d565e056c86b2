"""Replaces values of a YAML file in place; every other character stays as it was written.

A round trip through a YAML writer would not work: it attaches the comment above a key to what precedes that key, so
that adding or removing a section moves the comment of the next one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

_Pair = tuple[Node, Node]


@dataclass(frozen=True)
class _Edit:
    """Replaces the characters from ``start`` up to, but not including, ``end``."""

    start: int
    end: int
    text: str


def splice(text: str, new: str) -> str:
    """Set the top-level keys of one YAML text to the values that they have in another.

    Below a key that both have, the keys become the same too: a new key comes with the comment above it and those
    inside it, a removed key takes its comments along, and comments of keys that stay are not touched. Where values
    are equal already, not a character changes.

    Args:
        text: Block mappings, as in params.yaml; may be empty.
        new: Block mappings too; a top-level key that ``text`` lacks is appended to it.

    Returns:
        The new text. With anchors or braces its values may be wrong: the caller must compare them.
    """
    ending = "\r\n" if "\r\n" in text else "\n"
    text, new = (part if not part or part.endswith("\n") else part + ending for part in (text, new))
    target, source = _Document(text), _Document(new.replace("\r\n", "\n").replace("\n", ending))
    edits = [
        edit
        for name, pair in source.top.items()
        if name in target.top
        for edit in _value(target, source, target.top[name], pair)
    ]
    added = [ending + source.lines(pair) for name, pair in source.top.items() if name not in target.top]
    parts, place = [], 0
    for edit in sorted(edits, key=lambda one: one.start):
        parts += [text[place : edit.start], edit.text]
        place = max(place, edit.end)
    return "".join([*parts, text[place:], *added])


class _Document:
    """A YAML text and the positions of its keys and values."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def top(self) -> dict[str, _Pair]:
        """The top-level keys."""
        node = YAML(typ="safe", pure=True).compose(self.text)
        return {} if node is None else _pairs(node)

    def end(self, node: Node) -> int:
        """Where a value ends, without the comments after it."""
        if _is_block(node) and node.value:
            last = node.value[-1]
            return self.end(last[1] if isinstance(last, tuple) else last)
        place = len(self.text[: node.end_mark.index].rstrip())
        return self._before_comments(place) if node.start_mark.index == node.end_mark.index else place

    def _before_comments(self, place: int) -> int:
        """Where the key of an empty value ends: the parser places such a value below its comments."""
        while comment := re.search(r"(^|\s)#", self.text[self.line(place) : place]):
            place = len(self.text[: self.line(place) + comment.start()].rstrip())
        return place

    def next_line(self, place: int) -> int:
        """Where the line after a place starts."""
        return self.text.index("\n", place) + 1

    def line(self, place: int) -> int:
        """Where the line of a place starts."""
        return self.text.rfind("\n", 0, place) + 1

    def lines(self, pair: _Pair) -> str:
        """The lines of a key and its value."""
        return self.text[self.line(pair[0].start_mark.index) : self.next_line(self.end(pair[1]))]

    def above(self, parent: _Pair, number: int) -> int:
        """Where the comment above a key of a block starts, or the key's line if it has no comment."""
        key, block = parent
        before = key.end_mark.index if number == 0 else self.end(block.value[number - 1][1])
        return self.next_line(before)

    def inner(self, pair: _Pair) -> str:
        """The lines of a block value, without the line of its key."""
        return self.text[self.next_line(pair[0].end_mark.index) : self.next_line(self.end(pair[1]))]

    def flow(self, node: Node) -> str:
        """The text after the colon of a value that is not a block."""
        return f" {self.text[node.start_mark.index : self.end(node)]}".rstrip()


def _value(target: _Document, source: _Document, old: _Pair, new: _Pair) -> Iterator[_Edit]:
    """Edits that set the value of one key to that of the other."""
    if _same(old[1], new[1]):
        return
    if _is_mapping(old[1]) and _is_mapping(new[1]):
        yield from _block(target, source, old, new)
        return
    colon = target.text.index(":", old[0].end_mark.index) + 1
    shift = old[0].start_mark.column - new[0].start_mark.column
    if _is_block(old[1]):
        start, end = target.next_line(colon), target.next_line(target.end(old[1]))
    else:
        start = end = target.next_line(target.end(old[1]))
        yield _Edit(colon, target.end(old[1]), "" if _is_block(new[1]) else source.flow(new[1]))
    if _is_block(new[1]):
        yield _Edit(start, end, _shifted(source.inner(new), shift))
    elif _is_block(old[1]):
        yield _Edit(colon, colon, source.flow(new[1]))
        yield _Edit(start, end, "")


def _block(target: _Document, source: _Document, old: _Pair, new: _Pair) -> Iterator[_Edit]:
    """Edits that give one block mapping the keys of the other."""
    has, wanted = _pairs(old[1]), _pairs(new[1])
    shift = next(iter(has.values()))[0].start_mark.column - next(iter(wanted.values()))[0].start_mark.column
    for number, (name, pair) in enumerate(has.items()):
        if name not in wanted:
            yield _Edit(target.above(old, number), target.next_line(target.end(pair[1])), "")
    place = target.above(old, 0)
    for number, (name, pair) in enumerate(wanted.items()):
        if name in has:
            yield from _value(target, source, has[name], pair)
            place = target.next_line(target.end(has[name][1]))
        else:
            written = source.text[source.above(new, number) : source.next_line(source.end(pair[1]))]
            yield _Edit(place, place, _shifted(written, shift))


def _pairs(node: Node) -> dict[str, _Pair]:
    return {key.value: (key, value) for key, value in node.value}


def _is_block(node: Node) -> bool:
    return isinstance(node, MappingNode | SequenceNode) and not node.flow_style


def _is_mapping(node: Node) -> bool:
    return isinstance(node, MappingNode) and _is_block(node) and bool(node.value)


def _same(old: Node, new: Node) -> bool:
    """Whether two values are equal, of the same types, however they are written."""
    return json.dumps(_plain(old), default=str) == json.dumps(_plain(new), default=str)


def _plain(node: Node) -> Any:
    return YAML(typ="safe", pure=True).constructor.construct_document(node)


def _shifted(lines: str, by: int) -> str:
    """Indent lines by ``by`` spaces, or dedent them if ``by`` is negative."""
    if by == 0:
        return lines
    parts = lines.splitlines(keepends=True)
    return "".join(" " * by + part if by > 0 else part[min(-by, len(part) - len(part.lstrip(" "))) :] for part in parts)
