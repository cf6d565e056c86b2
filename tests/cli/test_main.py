import logging
import warnings
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from protoquant.cli.main import app
from protoquant.core.errors import StorageError


@pytest.fixture
def failing() -> Iterator[None]:
    """A verb that ends with an error in which an address has a password; the settings that verbs make are undone."""
    kept, level = list(app.registered_commands), logging.getLogger("protoquant").level

    @app.command("fail")
    def fail() -> None:
        raise StorageError("http://user:hunter2@store.org/bucket does not answer")

    with warnings.catch_warnings():
        yield
    app.registered_commands[:] = kept
    logging.getLogger("protoquant").setLevel(level)


@pytest.mark.usefixtures("failing")
def test_the_trace_of_an_error_holds_no_password() -> None:
    done = CliRunner().invoke(app, ["-v", "fail"])
    assert done.exit_code == 1
    assert "Traceback" in done.output
    assert "http://store.org/bucket does not answer" in done.output
    assert "hunter2" not in done.output
