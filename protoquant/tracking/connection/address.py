"""The address of MLflow and a check that it answers; this module does not import MLflow, which takes seconds."""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from protoquant.core.errors import ProtoQuantError, UnavailableError, one_line
from protoquant.core.workspace import Workspace

URI_VARIABLE = "MLFLOW_TRACKING_URI"
USER_VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
DATABASE = "mlflow.db"
_SQLITE = "sqlite:///"
# MLflow cannot answer this request without its database; its /health says OK even when the database is gone.
_PROBE = "/api/2.0/mlflow/experiments/search?max_results=1"
_PATIENCE = 5.0
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class TrackingUnavailableError(UnavailableError):
    """MLflow, its database or its file store cannot be reached; the request itself is not at fault."""

    def __init__(self, uri: str, reason: str) -> None:
        advice = f"start it (make stack-up), or unset {URI_VARIABLE} to keep runs in {DATABASE}"
        if database_file(uri):
            advice = "see that no other process holds it and that its file store is there"
        super().__init__(f"MLflow at {without_password(uri)} does not answer ({reason}); {advice}")


class UnknownUserError(ProtoQuantError):
    """MLflow does not know the user, or the password is wrong; a retry would not help."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"MLflow at {without_password(uri)} does not let you in (HTTP 401): user or password is missing or wrong; "
            f"source .stack/env where make stack-up started it, else set {' and '.join(USER_VARIABLES)}, then try again"
        )


def tracking_uri(workspace: Workspace) -> str:
    """The store that ``MLFLOW_TRACKING_URI`` names, else the workspace's own."""
    return os.environ.get(URI_VARIABLE) or f"{_SQLITE}{workspace.root.resolve() / DATABASE}"


def is_http(uri: str) -> bool:
    """Tell whether a URI names a server."""
    return uri.startswith(("http://", "https://"))


def database_file(uri: str) -> Path | None:
    """The file of a SQLite URI, relative to the current folder if the URI is; None for anything else."""
    name = uri.removeprefix(_SQLITE).partition("?")[0]
    if not uri.startswith(_SQLITE) or name in ("", ":memory:"):
        return None
    return Path(name).resolve()


def without_password(uri: str) -> str:
    """Remove user and password from a URI, or from every URI in a text, so that it may be shown."""
    # A password may hold a slash; what follows a port number is a path.
    return re.sub(r"//(?:[^/\s]*@|[^@\s/:]+:(?!\d+/)[^@\s?#]*@)", "//", uri)


def run_page(uri: str, experiment: str, run_id: str) -> str | None:
    """The page of a run; None, here and below, where the store has no pages."""
    return _page(uri, f"experiments/{experiment}/runs/{run_id}")


def report_page(uri: str, experiment: str, run_id: str) -> str | None:
    """The page that shows the report among the files of a run."""
    return _page(uri, f"experiments/{experiment}/runs/{run_id}/artifacts/report/index.html")


def version_page(uri: str, name: str, version: int | str) -> str | None:
    """The page of a registered version."""
    return _page(uri, f"models/{name}/versions/{version}")


def _page(uri: str, path: str) -> str | None:
    """A page in MLflow's view for model training; without the query a new visitor sees the one for agents."""
    return f"{without_password(uri).rstrip('/')}/#/{path}?workflowType=machine_learning" if is_http(uri) else None


def place(workspace: Workspace) -> str:
    """The name of the store as a snapshot records it."""
    return without_password(tracking_uri(workspace)).rstrip("/")


def check_registry(workspace: Workspace) -> None:
    """Fail early, before MLflow is imported, if a workspace has no registry and no server is named.

    Args:
        workspace: Its own store is checked where ``MLFLOW_TRACKING_URI`` is unset.

    Raises:
        ProtoQuantError: The database file does not exist.
    """
    database = database_file(tracking_uri(workspace))
    if database and not database.is_file():
        raise no_registry(database)


def no_registry(database: Path) -> ProtoQuantError:
    """Make the error for a missing database file."""
    return ProtoQuantError(f"no model registry at {database}; run the pipeline (dvc repro) or set {URI_VARIABLE}")


def check_tracking(workspace: Workspace) -> None:
    """Check that the server answers before work begins; the workspace's own store needs no check.

    The request carries the user and password that are set. If the server refuses them, MLflow's own client decides,
    since it also finds credentials in other places.

    Args:
        workspace: Its own store is used where ``MLFLOW_TRACKING_URI`` is unset.

    Raises:
        TrackingUnavailableError: The server does not answer within seconds.
        UnknownUserError: The server does not let this user in.
    """
    uri = tracking_uri(workspace)
    if not is_http(uri):
        knock(uri)
        return
    address = without_password(uri).rstrip("/") + _PROBE
    try:
        request = Request(address, headers=_credentials())  # noqa: S310
        with urlopen(request, timeout=_PATIENCE, context=_tls()):  # noqa: S310
            return
    except HTTPError as error:
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            _ask_by_client(workspace)
        if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TrackingUnavailableError(uri, f"HTTP {error.code}") from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise TrackingUnavailableError(uri, short(error)) from error


def knock(uri: str) -> None:
    """Check that a database server accepts connections; MLflow itself would retry for a hundred seconds.

    Args:
        uri: Any store; only PostgreSQL, MySQL and SQL Server are checked.

    Raises:
        TrackingUnavailableError: The server does not accept a connection.
    """
    try:
        parts = urlsplit(uri)
        usual = _PORTS.get(parts.scheme.partition("+")[0])
        if usual and parts.hostname:
            socket.create_connection((parts.hostname, parts.port or usual), _PATIENCE).close()
    except (OSError, ValueError) as error:
        raise TrackingUnavailableError(uri, short(error)) from error


def short(error: BaseException) -> str:
    """The innermost reason of a network error, on one line."""
    reason = getattr(error, "reason", error)
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return one_line(text)[:100]


def _credentials() -> dict[str, str]:
    """The header that MLflow's client builds from its variables."""
    user, password = (os.environ.get(name) for name in USER_VARIABLES)
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _ask_by_client(workspace: Workspace) -> None:
    """Ask through MLflow's client, which also reads its credentials file, ~/.netrc and the user in a URI."""
    from protoquant.tracking.connection.store import open_store

    with open_store(workspace, create=False) as store:
        store.client.search_experiments(max_results=1)


def _tls() -> ssl.SSLContext:
    """Build the TLS context; MLflow's own variables decide which certificates are trusted."""
    context = ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
