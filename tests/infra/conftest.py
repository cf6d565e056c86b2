"""One real stack for all tests of this folder, in a folder of its own, on other ports than a user's."""

import os
from collections.abc import Iterator

import pytest

from infra.stack import programs
from infra.stack.errors import StackError
from infra.stack.stack import Stack

SERVERS = ("postgres", "s3", "mlflow", "prefect")
OFFSET = 2000


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is up, without runner and Ray."""
    try:
        for program in ("initdb", "weed", "mlflow", "prefect", "ray"):
            programs.find(program)
    except StackError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("stack")
    stack = Stack(folder / "s", offset=OFFSET)
    try:
        stack.up(SERVERS)
        yield stack
    finally:
        stack.erase()
