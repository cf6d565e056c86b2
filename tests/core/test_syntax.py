"""What changes the digest of a source, and what does not."""

import shutil
import subprocess

import pytest

from protoquant.core import syntax
from protoquant.core.syntax import syntax_digest

SOURCE = '''
"""What it is for."""

from __future__ import annotations

__version__ = "1.2"
LIMIT: float = 0.5  # of all
"""The most."""


class Score:
    """A number."""

    unit = "share"

    def of(self, *values: float, scale: float = 1e-3, **rest: object) -> str:
        """Say it."""
        with open("f") as file, file:
            found = {**rest, "n": [x for x in values if x > -LIMIT]}
        match found:
            case {"n": [first, *_]}:
                return f"{first!r:>{len(values)}} of {scale:.2f}" "." + b"".decode()
            case _:
                return lambda y, /: (yield y)
'''
DIGEST = "ff032104107c8df83215b17bb2483e6d755924569c38b111b711f0cf5bd8b761"


def test_the_digest_is_the_same_on_every_python() -> None:
    assert syntax_digest(SOURCE) == DIGEST


@pytest.mark.process
@pytest.mark.parametrize("python", ["python3.11", "python3.12", "python3.13"])
def test_another_python_finds_the_same(python: str) -> None:
    program = shutil.which(python)
    code = f"import runpy, sys; print(runpy.run_path({syntax.__file__!r})['syntax_digest'](sys.stdin.read()))"
    if program is None or subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no {python} here")
    done = subprocess.run([program, "-c", code], input=SOURCE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DIGEST


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # of all", ""),
        ('"""What it is for."""', ""),
        ('"""The most."""', '"""The most of all."""'),
        ('        """Say it."""\n', ""),
        ('    """A number."""\n\n', ""),
        ('"1.2"', '"1.3"'),
        ("1e-3", "0.001"),
        ('"share"', "'share'"),
        ("(self, *values: float, scale", "(\n        self,\n        *values: float,\n        scale"),
    ],
)
def test_comments_docstrings_layout_and_the_release_do_not_count(old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    assert syntax_digest(SOURCE.replace(old, new)) == syntax_digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.50001"),
        ("1e-3", "None"),
        ("> -LIMIT", ">= -LIMIT"),
        ("**rest: object", "**others: object"),
        ('"n": [x', '"m": [x'),
        ("!r:>", ":>"),
        ("[first, *_]", "[first]"),
        ("lambda y, /:", "lambda y:"),
        ("*values", "values"),
        ('b""', '""'),
        ("as file, file", "as file"),
        ('unit = "share"', 'unit: str = "share"'),
        ("class Score:", "class Score(str):"),
    ],
)
def test_whatever_python_is_told_counts(old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    assert syntax_digest(SOURCE.replace(old, new)) != syntax_digest(SOURCE)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "1.0"), ("1", "True"), ("'1'", "1"), ("'1'", "b'1'"), ("None", "...")]
)
def test_values_of_different_kinds_are_different(one: str, other: str) -> None:
    assert syntax_digest(f"x = {one}") != syntax_digest(f"x = {other}")


def test_what_is_absent_is_not_what_is_none() -> None:
    assert syntax_digest("def f(): return") != syntax_digest("def f(): return None")
    assert syntax_digest("x[:1]") != syntax_digest("x[1:]")


def test_a_text_that_is_used_counts() -> None:
    assert syntax_digest("f('a')") != syntax_digest("f('b')")
