"""The error that refuses a request, and its HTTP answer."""

import json

from protoquant.core.errors import ProtoQuantError


class RefusedError(ProtoQuantError):
    """Ends a request with a status and one line.

    Attributes:
        status: HTTP status.
        kind: Short name of the reason, for clients and counters.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, kind: str, text: str, headers: dict[str, str] | None = None):
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.headers = headers or {}

    def body(self, request: str) -> bytes:
        """The answer as JSON."""
        return json.dumps({"error": str(self), "kind": self.kind, "request": request}).encode()


def busy(what: str) -> RefusedError:
    """The refusal of a request that exceeds the bounded queue."""
    return RefusedError(429, "busy", f"the service is busy ({what}); try again in a second", {"Retry-After": "1"})


def too_many_bytes(limit: int, what: str = "a request") -> RefusedError:
    """The refusal of a request that exceeds a limit of bytes."""
    return RefusedError(413, "too_many_bytes", f"{what} may have {limit:,} bytes; send less at a time")
