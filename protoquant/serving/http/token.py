"""Read the token that clients must send from a private file or the environment, never from the command line."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

from pydantic import SecretStr

from protoquant.core.errors import UsageError
from protoquant.serving.config import SHORTEST_TOKEN

VARIABLE = "PROTOQUANT_SERVE_TOKEN"
_OTHERS = 0o077
_MOST_BYTES = 4096


def read_token(file: Path | None, environment: MutableMapping[str, str]) -> SecretStr | None:
    """Read the token and remove its variable, so that no child process inherits it.

    Args:
        file: A file that holds only the token and that only its owner may read.
        environment: Environment of the process.

    Returns:
        The token; None where neither gives one.

    Raises:
        UsageError: Both are given, the file cannot be read or others may read it, or the token is too short.
    """
    variable = environment.pop(VARIABLE, None)
    if file is None:
        return None if variable is None else _checked(variable, VARIABLE)
    if variable is not None:
        raise UsageError(f"the token is given twice; leave out --token-file, or unset {VARIABLE}")
    return _checked(_private_text(file), str(file))


def _private_text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & _OTHERS:
                raise UsageError(f"others may read the token in {file}; make it private: chmod 600 {file}")
            return opened.read(_MOST_BYTES).decode("latin-1")
    except OSError as error:
        raise UsageError(f"--token-file {file} cannot be read: {error.strerror}") from error


def _checked(text: str, where: str) -> SecretStr:
    token = text.strip()
    if len(token) < SHORTEST_TOKEN or not re.fullmatch("[!-~]+", token):
        wanted = f"{SHORTEST_TOKEN} or more characters of ASCII without spaces"
        raise UsageError(f"expected a token of {wanted} in {where}, got {len(token)}; make one: openssl rand -hex 32")
    return SecretStr(token)
