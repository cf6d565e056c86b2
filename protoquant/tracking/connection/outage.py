"""Tell an outage of MLflow, or a user without access, from a request that MLflow refuses.

Seen with MLflow 3.17: a stopped server or file store ends as ``MlflowException`` caused by ``requests``'
ConnectionError or RetryError; a stopped database as RetryError after 503; uploads straight to S3 as ``botocore``
errors. A wrong password gives error code UNAUTHENTICATED, or ``requests``' HTTPError for artifacts.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from protoquant.tracking.connection.address import short

_LIBRARIES = ("requests", "urllib3", "botocore")
_AWAY = {
    "ChunkedEncodingError",
    "ConnectionError",
    "HTTPClientError",
    "ProtocolError",
    "RetryError",
    "Timeout",
    "TimeoutError",
}
_CERTIFICATE = {"SSLError", "SSLCertVerificationError"}
_PASSING = ("DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE")
_DENIED = {"UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED, "PERMISSION_DENIED": HTTPStatus.FORBIDDEN}
_PASSING_STATUS = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def outage(error: BaseException) -> str | None:
    """Say why MLflow or its file store cannot be reached.

    Args:
        error: An error raised by a call of MLflow.

    Returns:
        The reason in a few words; None where the error is a refusal, or comes from elsewhere.
    """
    chain = list(_chain(error))
    if any(type(link).__name__ in _CERTIFICATE for link in chain):
        return None
    if not any(_is_away(link) for link in chain):
        return None
    reason = short(chain[-1])
    return f"{reason}: its database or file store may be away" if reason.startswith("too many 5") else reason


def denied(error: BaseException) -> int | None:
    """Find the HTTP status, 401 or 403, with which MLflow denied this user access; None for any other error.

    Args:
        error: An error raised by a call of MLflow.
    """
    for link in _chain(error):
        if found := _DENIED.get(getattr(link, "error_code", None) or ""):
            return found
        status = _status(getattr(link, "response", None))
        if status in _DENIED.values() and type(link).__module__.partition(".")[0] == "requests":
            return status
    return None


def unanswered(error: BaseException) -> bool:
    """Tell whether an error left the request unanswered: MLflow cannot be reached, or denied this user access."""
    return outage(error) is not None or denied(error) is not None


def is_foreign(error: BaseException) -> bool:
    """Tell whether an error comes from a library that MLflow talks through."""
    return type(error).__module__.partition(".")[0] in (*_LIBRARIES, "alembic", "boto3", "mlflow", "sqlalchemy")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_away(error: BaseException) -> bool:
    if getattr(error, "error_code", None) in _PASSING:
        # MLflow gives this code to every database error, even for a file that may not be written.
        return "sqlite3." not in str(error) or "database is locked" in str(error)
    status = _status(getattr(error, "response", None))
    if status is not None:
        return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING_STATUS
    return any(
        kind.__name__ in _AWAY and kind.__module__.partition(".")[0] in _LIBRARIES for kind in type(error).__mro__
    )


def _status(response: Any) -> int | None:
    """The HTTP status of a response from requests or botocore."""
    if isinstance(response, dict):
        response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        response = getattr(response, "status_code", None)
    return response if isinstance(response, int) else None
