"""MLflow's server with a login and without access for foreign pages: ``mlflow server --app-name protoquant``.

MLflow's basic authentication alone also admits pages from every other port of this machine, with the browser's login.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from protoquant.core.http_origin import foreign_page

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


def create_app() -> Any:
    """Make the server; MLflow's command line calls this in each of its workers.

    The administrator gets the password of ``MLFLOW_AUTH_ADMIN_PASSWORD``, even if the user was created with another.
    """
    from mlflow.server import auth

    app = auth.create_app()
    user, password = auth.auth_config.admin_username, auth.auth_config.admin_password
    if not auth.store.authenticate_user(user, password):
        auth.store.update_user(user, password=password)
    app.add_middleware(OwnPages)
    return app


class OwnPages:
    """ASGI middleware that refuses pages of any origin but the server's own.

    Args:
        app: The wrapped application; it checks the name in ``Host`` itself.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Let one request pass, or refuse it."""
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
            page = foreign_page(scope["method"], scope["headers"], {f"http://{host}", f"https://{host}"})
            if page is not None:
                await _refuse(send, f"expected no page of another origin, got {page[:60]}\n")
                return
        await self._app(scope, receive, send)


async def _refuse(send: Any, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode("utf-8")})
