"""The errors a user can meet, each with the exit code of its kind."""

from collections.abc import Iterable
from difflib import get_close_matches


class ProtoQuantError(Exception):
    """Base of all expected errors; its text is one line that says what to do."""

    exit_code = 1


class UsageError(ProtoQuantError):
    """The call itself is wrong: a missing path, an unknown name."""

    exit_code = 2


class ConfigError(UsageError):
    """A params key or value is unknown or impossible."""


class DataError(ProtoQuantError):
    """An image or table does not hold what it must."""


class ArtifactError(ProtoQuantError):
    """A stage's output is missing, damaged, or of another kind."""


class UnavailableError(ProtoQuantError):
    """What the work needs is away: a server does not answer, a lock is held. The same call may work later.

    Its exit code is that of a temporary failure in ``sysexits.h``, so that an orchestrator knows when to try again.
    """

    exit_code = 75


class StorageError(ProtoQuantError):
    """The S3 store refused, does not answer, or holds what cannot be used."""


class ShapeError(ProtoQuantError):
    """Two tensors that must fit do not."""


def one_line(error: object) -> str:
    """What an error says, on one line; empty where it says nothing.

    Args:
        error: An error, or what a program said.
    """
    return " ".join(str(error).split())


def suggest(name: str, options: Iterable[str]) -> str:
    """Name the option nearest to a mistyped name.

    Args:
        name: What the user wrote.
        options: Valid names.

    Returns:
        ``"; did you mean 'quantize'?"``, or an empty string where nothing is near.
    """
    near = get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
