"""The errors that a user can see, each with the exit code of its kind."""

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
    """An image or a table does not hold the data it must."""


class ArtifactError(ProtoQuantError):
    """A stage's output is missing, damaged, or of another kind."""


class UnavailableError(ProtoQuantError):
    """A resource is unavailable: a server does not answer, or a lock is held. The same call may work later.

    Its exit code is that of a temporary failure in ``sysexits.h``, so that an orchestrator knows when to try again.
    """

    exit_code = 75


class StorageError(ProtoQuantError):
    """The S3 store refused a request, does not answer, or holds data that cannot be used."""


class ShapeError(ProtoQuantError):
    """Two tensors have shapes that do not fit together."""


def one_line(error: object) -> str:
    """The text of an error on one line; empty if it has none.

    Args:
        error: An error, or the output of a program.
    """
    return " ".join(str(error).split())


def suggest(name: str, options: Iterable[str]) -> str:
    """Name the option nearest to a mistyped name.

    Args:
        name: The name that the user wrote.
        options: Valid names.

    Returns:
        ``"; did you mean 'quantize'?"``, or an empty string if no option is near.
    """
    near = get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
