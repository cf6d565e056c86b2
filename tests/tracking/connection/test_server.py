"""MLflow's server with a login, as the stack starts it."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from protoquant.tracking.connection.server import OwnPages
from tests.tracking.lossy import mlflow_server

OWN, OTHER = "http://127.0.0.1:5000", "http://127.0.0.1:9000"
SETTINGS = "[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{folder}/users.db\n"
EXPERIMENT = "/api/2.0/mlflow/experiments/get?experiment_id=0"


async def _answer(scope: dict[str, Any], _: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["method"].encode()})


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        (OWN, {}, 200),
        (OWN, {"Origin": OWN}, 200),
        ("http://LOCALHOST:5000", {"Origin": "http://localhost:5000"}, 200),
        (OWN, {"Origin": "https://127.0.0.1:5000"}, 200),  # behind a proxy that has the certificate
        (OWN, {"Origin": OTHER}, 403),
        (OWN, {"Origin": "http://localhost:5000"}, 403),
        (OWN, {"Origin": "null"}, 403),
        (OWN, {"Sec-Fetch-Site": "same-site"}, 403),
        (OWN, {"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_own_pages_alone_are_let_through(url: str, headers: dict[str, str], status: int) -> None:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(OwnPages(_answer))) as client:
            return await client.post(url, headers=headers)

    reply = asyncio.run(ask())
    assert reply.status_code == status
    named = headers.get("Origin", "another site")
    assert reply.text == ("POST" if status == 200 else f"expected no page of another origin, got {named}\n")


def test_a_long_origin_is_cut() -> None:
    async def ask() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(OwnPages(_answer))) as client:
            return (await client.get(OWN, headers={"Origin": "x" * 5000})).text

    assert asyncio.run(ask()) == f"expected no page of another origin, got {'x' * 60}\n"


def test_other_than_http_passes() -> None:
    seen = []

    async def app(scope: dict[str, Any], *_: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(OwnPages(app)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


@pytest.mark.server
def test_a_password_made_anew_replaces_the_one_before(empty_store: Path, tmp_path: Path) -> None:
    database, settings = tmp_path / "server.db", tmp_path / "auth.ini"
    database.write_bytes(empty_store.read_bytes())
    settings.write_text(SETTINGS.format(folder=tmp_path))
    first, second = "the-first-of-two-secrets", "the-second-of-two-secrets"
    for now, other in ((first, second), (second, first)):
        given = {
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_USERNAME": "protoquant",
            "MLFLOW_AUTH_ADMIN_PASSWORD": now,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-test",
        }
        with (
            mlflow_server(tmp_path / "server", database, app="protoquant", **given) as url,
            httpx.Client(base_url=url, trust_env=False) as client,
        ):
            page = {"Origin": OTHER}
            assert client.get(EXPERIMENT).status_code == 401
            assert client.get(EXPERIMENT, auth=("protoquant", other)).status_code == 401
            assert client.get(EXPERIMENT, auth=("protoquant", now)).status_code == 200
            assert client.get(EXPERIMENT, auth=("protoquant", now), headers={"Origin": url}).status_code == 200
            assert client.get(EXPERIMENT, auth=("protoquant", now), headers=page).status_code == 403
    assert not [secret for secret in (first, second) if secret in (tmp_path / "server" / "log").read_text()]
