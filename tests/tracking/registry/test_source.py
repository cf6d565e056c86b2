"""What names a model: URIs, short names, and the forms that a form accepts."""

import re
from pathlib import Path

import pytest

from protoquant.core.errors import UsageError
from protoquant.tracking.registry.source import (
    URI_FORM,
    VERSION_FORM,
    OfRun,
    Version,
    is_tracked,
    is_uri,
    read_short,
    read_uri,
    read_version,
)

ALIASED, NUMBERED, BARE = Version("birds", "champion", None), Version("birds", None, 3), Version("birds", None, None)
URIS = {
    "models:/birds@champion": ALIASED,
    "models:/birds/3": NUMBERED,
    "models:/a:b/3": Version("a:b", None, 3),
    "runs:/ab/model": OfRun("ab", "model"),
    "runs:/ab/other/": OfRun("ab", "other"),
    "runs:/ab": OfRun("ab", "model"),
}
SHORT = {
    "models:/birds@champion": ALIASED,
    "models:/birds/3": NUMBERED,
    "models:/birds": BARE,
    "birds@champion": ALIASED,
    "birds/3": NUMBERED,
    "birds": BARE,
}
MALFORMED = (
    "models:/birds",
    "models:/birds/latest",
    "models:/birds/3/4",
    "models:/",
    "runs:/",
    "runs:/a/b/c",
    "birds",
    "",
)


@pytest.mark.parametrize(("uri", "named"), URIS.items())
def test_a_uri_names_a_version_or_the_model_of_a_run(uri: str, named: Version | OfRun) -> None:
    assert read_uri(uri) == named
    assert read_version(uri) == (named if isinstance(named, Version) else None)


@pytest.mark.parametrize("uri", MALFORMED)
def test_a_malformed_uri_is_refused_with_the_forms_there_are(uri: str) -> None:
    said = f"expected models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/model, got {uri!r}"
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        read_uri(uri)
    assert read_version(uri) is None


@pytest.mark.parametrize(("text", "version"), SHORT.items())
def test_a_short_name_needs_neither_scheme_nor_version(text: str, version: Version) -> None:
    assert read_short(text) == version


@pytest.mark.parametrize("text", ["models:/birds/latest", "runs:/ab/model", "a:b", "birds/3/4", "birds@a@b", ""])
def test_what_is_no_short_name_is_none(text: str) -> None:
    assert read_short(text) is None


@pytest.mark.parametrize("uri", [*URIS, *MALFORMED])
def test_a_form_takes_what_is_read(uri: str) -> None:
    assert bool(re.search(VERSION_FORM, uri)) == (read_version(uri) is not None)
    if uri in URIS:
        assert re.search(URI_FORM, uri)


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        ("models:/birds", True),
        ("runs:/", True),
        ("artifacts/bundle", False),
        ("./models:/birds", False),
        (Path("artifacts/bundle"), False),
        ("", False),
    ],
)
def test_a_uri_is_known_by_its_beginning(source: str | Path, uri: bool) -> None:
    assert is_uri(source) == uri


@pytest.mark.parametrize(
    ("name", "tracked"),
    [("0123456789abcdef" * 2, True), ("models:/birds", True), ("0123456789abcdef", False), ("runs:/ab", False)],
)
def test_runs_are_tracked_by_their_id_and_models_by_their_uri(name: str, tracked: bool) -> None:
    assert is_tracked(name) == tracked
