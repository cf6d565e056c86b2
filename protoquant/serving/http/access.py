"""Decide from the headers alone which clients are answered: by Host, origin and token."""

from __future__ import annotations

from dataclasses import dataclass, field
from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from protoquant.core.errors import UsageError
from protoquant.core.http_origin import foreign_page
from protoquant.serving.config import ServeConfig
from protoquant.serving.http.names import LOOPBACK, is_loopback, name_of, plain_name
from protoquant.serving.http.record import account
from protoquant.serving.http.refusal import RefusedError
from protoquant.serving.http.refused_body import let_go

OPEN = "/health"
"""Path that is answered without the token, so that probes need none."""


@dataclass(frozen=True)
class Rules:
    """The rules that decide which clients are answered.

    Attributes:
        names: Names that ``Host`` may hold, besides the address that a connection reached.
        proxied: Those of the names that a proxy may serve over TLS.
        token: The token that a client must send; None where it needs none.
    """

    names: frozenset[str]
    proxied: frozenset[str] = frozenset()
    token: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, config: ServeConfig) -> Rules:
        """The rules of a service."""
        proxied = frozenset(config.allowed_hosts)
        token = config.token.get_secret_value().encode() if config.token else None
        return cls(LOOPBACK | {plain_name(config.host)} | proxied, proxied, token)


class Access:
    """ASGI middleware that refuses requests by Host, origin or token before any of the body is read or counted.

    Args:
        app: The wrapped application.
        config: Names, token, and the largest body that is read of a refused request.
    """

    def __init__(self, app: ASGIApp, config: ServeConfig):
        self._app = app
        self._rules = Rules.of(config)
        self._most = config.max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass, or refuse it."""
        if scope["type"] == "http":
            try:
                account(scope).stranger = not examine(scope, self._rules)
            except RefusedError:
                await let_go(scope, receive, self._most)
                raise
        await self._app(scope, receive, send)


def examine(scope: Scope, rules: Rules) -> bool:
    """Decide from the headers whether a request is answered; the forwarding headers of proxies are ignored.

    Args:
        scope: ASGI scope of the request.
        rules: The rules of the service.

    Returns:
        Whether the client may learn everything; False without the token where none is needed.

    Raises:
        RefusedError: 403 for another name or a foreign page, 401 for a missing or wrong token.
    """
    headers = Headers(scope=scope)
    own = _own_origins(headers.getlist("host"), scope.get("server"), rules)
    page = foreign_page(scope["method"], scope["headers"], own)
    if page is not None:
        text = f"expected no page of another origin, got {page[:60]!r}; send from a program"
        raise RefusedError(403, "origin", text)
    return _has_token(headers.getlist("authorization"), scope["path"], rules.token)


def require_token(config: ServeConfig) -> None:
    """Refuse to listen beyond this machine without a token.

    Raises:
        UsageError: Neither a token nor ``insecure`` is given, or both.
    """
    if config.insecure and config.token:
        raise UsageError("--insecure means to need no token, and a token is given; leave one of them out")
    if not (is_loopback(config.host) or config.token or config.insecure):
        raise UsageError(
            f"at {config.host} other machines can reach the service, and no token is set; give --token-file FILE or "
            "PROTOQUANT_SERVE_TOKEN, or --insecure to answer anybody"
        )


def _own_origins(hosts: list[str], server: tuple[str, int | None] | None, rules: Rules) -> set[str]:
    """The origins of the service's own pages, under the name in ``Host``."""
    name = name_of(hosts[0]) if len(hosts) == 1 else None
    if name is None or not (name in rules.names or (server is not None and name == plain_name(server[0]))):
        got = ", ".join(hosts)[:60] or "none"
        text = f"expected Host to name this service, such as localhost, got {got!r}; start it with --allowed-host NAME"
        raise RefusedError(403, "host", text)
    authority = hosts[0].lower()
    return {f"http://{authority}", *([f"https://{authority}"] if name in rules.proxied else ())}


def _has_token(given: list[str], path: str, token: bytes | None) -> bool:
    if token is None:
        return True
    if not given and path == OPEN:
        return False
    scheme, _, secret = (given[0] if len(given) == 1 else "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(secret.strip().encode("latin-1"), token):
        text = f"expected the token of this service: Authorization: Bearer TOKEN; {'another' if given else 'none'} came"
        raise RefusedError(401, "token", text, {"WWW-Authenticate": "Bearer"})
    return True
