"""Edits of a YAML text by hand-worked cases; what is not edited stays to the last character."""

import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from protoquant.settings.yaml_edit import splice

HERE = """\
# head
a:  1   # of a

b:
  # of c
  c: null  # beside c
  # of d
  d: [1,
    2]
  # of e
  e:
    f: 1
    # below f
  # of g
  g: x
# of h
h: {i: 1}
"""


def load(text: str) -> Any:
    return YAML(typ="safe").load(text)


@pytest.mark.parametrize(
    ("new", "before", "after"),
    [
        ("a: 2", "a:  1   # of a", "a: 2   # of a"),
        ("a: 1.0", "a:  1   # of a", "a: 1.0   # of a"),
        ("h: {i: 2}", "h: {i: 1}", "h: {i: 2}"),
        ("h:\n  i: 3\n", "h: {i: 1}\n", "h:\n  i: 3\n"),
        ("h:\n- 1\n- 2\n", "h: {i: 1}\n", "h:\n- 1\n- 2\n"),
        ("h: null", "h: {i: 1}", "h: null"),
        ("z:\n  # of y\n  y: 1", "h: {i: 1}\n", "h: {i: 1}\n\nz:\n  # of y\n  y: 1\n"),
    ],
)
def test_a_value_is_put_where_the_old_one_stood(new: str, before: str, after: str) -> None:
    assert splice(HERE, new) == HERE.replace(before, after)


def test_a_section_comes_with_its_comments_and_those_around_it_stay() -> None:
    wanted = "b:\n    # not taken: there is one\n    c:\n        # of k\n        k: 1\n\n        l:\n        - 2\n"
    wanted += "    d: [1, 2]\n    e: null\n    # of m\n    m: 5\n    g: x\n"
    block = HERE.replace(
        "  c: null  # beside c\n", "  c:  # beside c\n      # of k\n      k: 1\n\n      l:\n      - 2\n"
    )
    assert splice(HERE, wanted) == block.replace(
        "  e:\n    f: 1\n    # below f\n", "  e: null\n  # of m\n  m: 5\n    # below f\n"
    )


def test_a_key_that_is_gone_takes_its_comment_along() -> None:
    new = "b:\n  c: null\n  # of x\n  x: 1\n  # of y\n  y: 2\n  g: x\n"
    gone = "  # of d\n  d: [1,\n    2]\n  # of e\n  e:\n    f: 1\n"
    assert splice(HERE, new) == HERE.replace(gone, "  # of x\n  x: 1\n  # of y\n  y: 2\n")


def test_windows_lines_and_a_missing_last_end() -> None:
    assert splice("a: 1\r\nb:\r\n  c:", "b:\n  c:\n    d: 1") == "a: 1\r\nb:\r\n  c:\r\n    d: 1\r\n"
    assert splice("", "a: 1").strip() == "a: 1"


texts = st.text("ab:#- '\"\n|", max_size=6)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pqr"), inner)
)
files = st.dictionaries(st.sampled_from("abcd"), values, min_size=1)


def written(values: Any, *, braces: bool) -> str:
    if braces:
        return "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
    out = StringIO()
    YAML().dump(values, out)
    return out.getvalue()


EMPTY = "a:\n  b:\n  # of c\n\n  c:  # beside c\n  # of d\n  d: 1\n"


@pytest.mark.parametrize(
    ("new", "before", "after"),
    [
        ("a:\n  b: 1\n  c:\n  d: 1\n", "  b:\n", "  b: 1\n"),
        ("a:\n  b:\n    x: 1\n  c:\n  d: 1\n", "  b:\n", "  b:\n    x: 1\n"),
        ("a:\n  b:\n  c: [1]\n  d: 1\n", "c:  #", "c: [1]  #"),
        ("a:\n  b:\n  c:\n    x: 1\n  d: 1\n", "beside c\n", "beside c\n    x: 1\n"),
        ("a:\n  b:\n  c:\n  d:\n", "d: 1", "d:"),
        ("a:\n  b:\n  d: 1\n", "  # of c\n\n  c:  # beside c\n", ""),
    ],
)
def test_an_empty_value_ends_before_the_comment_of_the_next_key(new: str, before: str, after: str) -> None:
    assert before in EMPTY
    assert splice(EMPTY, new) == EMPTY.replace(before, after)


@given(files, files)
def test_no_comment_of_a_key_that_stays_is_lost(old: Any, new: Any) -> None:
    said = "".join(
        f"# of {key}\n{key}:{'' if value is None else f' {json.dumps(value)}'}\n" for key, value in old.items()
    )
    once = splice(said, written(new, braces=False))
    assert load(once) == {**old, **new}
    assert [line for line in once.splitlines() if line in said.splitlines()[::2]] == said.splitlines()[::2]


@given(files, files, st.booleans(), st.booleans())
def test_whatever_stands_there_becomes_what_is_wanted(old: Any, new: Any, here: bool, there: bool) -> None:
    wanted = written(new, braces=there)
    once = splice(written(old, braces=here), wanted)
    assert load(once) == {**old, **new}
    assert splice(once, wanted) == once
