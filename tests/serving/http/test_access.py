import asyncio

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from protoquant.core.errors import UsageError
from protoquant.serving.config import ServeConfig
from protoquant.serving.http.access import Access, Rules, examine, require_token
from protoquant.serving.http.admission import Admission
from protoquant.serving.http.metrics import Metrics
from protoquant.serving.http.record import RequestMiddleware
from protoquant.serving.http.refusal import RefusedError
from protoquant.serving.service import create_app
from tests.serving.asking import call
from tests.serving.running import EVERYWHERE, TOKEN

OPEN = ServeConfig(host="10.0.0.7", allowed_hosts=("birds.example.org",))
CLOSED = ServeConfig(token=SecretStr(TOKEN))
HERE = ("host", "localhost:8000")


def asked(*headers: tuple[str, str], config: ServeConfig = OPEN, method: str = "POST", path: str = "/predict"):
    """What is decided: whether the client may learn all, or the status and kind of the refusal."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "server": ("192.0.2.1", 8000)}
    try:
        return examine(scope, Rules.of(config))
    except RefusedError as refusal:
        return refusal.status, refusal.kind


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.:1", "127.0.0.1:8000", "[::1]", "10.0.0.7:8000", "birds.example.org", "192.0.2.1:8000"],
)
def test_own_names_pass_at_any_port(host: str) -> None:
    assert asked(("host", host)) is True


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["rebound.example:8000"],
        ["localhost.rebound.example"],
        ["www.birds.example.org"],
        ["10.0.0.8"],
        ["0.0.0.0:8000"],
        ["localhost", "localhost"],
        ["localhost, rebound.example"],
        ["rebound.example@localhost"],
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/health", "/metrics", "/nothing"])
def test_other_names_are_refused_on_every_path(hosts: list[str], path: str) -> None:
    headers = [("host", host) for host in hosts]
    forwarded = [("x-forwarded-host", "localhost"), ("forwarded", "host=localhost")]
    assert asked(*headers, *forwarded, path=path, method="GET") == (403, "host")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("LocalHost:8000", "http://localhost:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("birds.example.org", "https://birds.example.org"),
        ("birds.example.org:8443", "https://birds.example.org:8443"),
        ("birds.example.org", "http://birds.example.org"),
    ],
)
def test_own_pages_pass(host: str, origin: str) -> None:
    assert asked(("host", host), ("origin", origin), ("sec-fetch-site", "same-origin")) is True


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "null"),
        ("localhost:8000", ""),
        ("localhost:8000", "http://localhost:9000"),
        ("localhost:8000", "http://localhost"),
        ("localhost:8000", "http://127.0.0.1:8000"),
        ("localhost:8000", "https://localhost:8000"),
        ("localhost:8000", "http://localhost:8000.foreign.example"),
        ("localhost:8000", "https://foreign.example"),
        ("birds.example.org", "https://foreign.example"),
        ("10.0.0.7:8000", "https://10.0.0.7:8000"),
    ],
)
def test_foreign_pages_are_refused(host: str, origin: str) -> None:
    forwarded = [("x-forwarded-proto", "https"), ("x-forwarded-host", "foreign.example"), ("x-forwarded-for", "::1")]
    for method in ("GET", "POST", "OPTIONS"):
        assert asked(("host", host), ("origin", origin), *forwarded, method=method) == (403, "origin")
    assert asked(("host", host), ("origin", f"http://{host}"), ("origin", origin)) == (403, "origin")


def test_of_foreign_pages_without_an_origin_only_links_that_are_followed_pass() -> None:
    def fetched(site: str, mode: str = "no-cors", dest: str = "image", method: str = "GET"):
        sent = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        return asked(HERE, *sent.items(), method=method, path="/health")

    for site in ("cross-site", "same-site", "anything"):
        assert fetched(site) == fetched(site, "navigate", "iframe") == (403, "origin")
        assert fetched(site, "navigate", "document", "POST") == (403, "origin")
        assert fetched(site, "navigate", "document") is True
    assert fetched("none", "navigate", "document") is fetched("same-origin", "cors", "empty") is True


@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer  {TOKEN}"])
def test_the_token_opens_every_path(sent: str) -> None:
    assert asked(HERE, ("authorization", sent), config=CLOSED) is True


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [""],
        ["Bearer"],
        [f"Basic {TOKEN}"],
        [f"Bearer {TOKEN[:-1]}"],
        [f"Bearer {TOKEN}x"],
        ["Bearer \xe4"],
        [f"Bearer {TOKEN}"] * 2,
    ],
)
def test_without_it_health_alone_is_open(sent: list[str]) -> None:
    headers = [HERE, *(("authorization", one) for one in sent)]
    for path in ("/predict", "/metrics", "/openapi.json", "/health/", "/nothing"):
        assert asked(*headers, config=CLOSED, path=path) == (401, "token")
    assert asked(*headers, config=CLOSED, path="/health") == ((401, "token") if sent else False)


def test_a_token_does_not_excuse_a_foreign_name_or_page() -> None:
    bearer = ("authorization", f"Bearer {TOKEN}")
    assert asked(("host", "rebound.example"), bearer, config=CLOSED) == (403, "host")
    assert asked(HERE, ("origin", "null"), bearer, config=CLOSED) == (403, "origin")


def test_no_settings_show_the_token() -> None:
    for text in (repr(CLOSED), str(CLOSED), CLOSED.model_dump_json(), repr(Rules.of(CLOSED))):
        assert TOKEN not in text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"host": EVERYWHERE},
            "at 0.0.0.0 other machines can reach the service, and no token is set; give --token-file",
        ),
        ({"host": "::"}, "no token is set"),
        ({"host": "myhost"}, "no token is set"),
        ({"insecure": True, "token": SecretStr(TOKEN)}, "leave one of them out"),
    ],
)
def test_beyond_this_machine_a_token_is_needed(values, text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        require_token(ServeConfig(**values))
    assert "\n" not in str(caught.value)
    for fine in ({"token": SecretStr(TOKEN)}, {"insecure": True}):
        require_token(ServeConfig(**{"host": EVERYWHERE, **fine}))
    for host in ("localhost", "::1"):
        require_token(ServeConfig(host=host))


def test_a_stranger_is_refused_at_a_full_queue_too_and_takes_no_place_in_it() -> None:
    async def main() -> None:
        inside, done = asyncio.Event(), asyncio.Event()

        async def answer(scope, receive, send) -> None:
            inside.set()
            await done.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        config = CLOSED.model_copy(update={"queue": 1})
        metrics = Metrics()
        admission = Admission(answer, config)
        app = RequestMiddleware(Access(admission, config), metrics, lambda: None)
        known = {"host": "localhost", "authorization": f"Bearer {TOKEN}", "content-length": "1"}
        strange = {"host": "localhost", "content-length": "9", "connection": "close"}
        refused = await call(app, parts=[b"x" * 4, b"x" * 5], headers=strange)
        assert (refused.status, refused.headers["www-authenticate"], refused.read) == (401, "Bearer", 2)
        assert set(refused.json()) == {"error", "kind", "request"}
        waiting = {"host": "localhost", "content-length": "9", "expect": "100-continue"}
        assert (await call(app, parts=[b"x" * 9], headers=waiting)).read == 0
        assert admission.at_work() == 0
        first = asyncio.create_task(call(app, parts=[b"x"], headers=known))
        await inside.wait()
        assert (await call(app, parts=[b"x"], headers=known)).status == 429
        assert (await call(app, headers=strange)).status == 401
        done.set()
        assert (await first).status == 200
        counted = metrics.text().decode()
        assert 'protoquant_requests_total{path="/predict",status="401"} 3.0' in counted
        assert 'protoquant_errors_total{kind="token"} 3.0' in counted

    asyncio.run(main())


def test_a_stranger_learns_that_the_service_is_healthy_and_no_more(versions) -> None:
    with TestClient(create_app(versions, CLOSED)) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/metrics").json()["kind"] == "token"
        known = client.get("/health", headers={"Authorization": f"Bearer {TOKEN}"})
        assert known.json()["model"]["name"] == "birds"
        assert not [name for name in known.headers if name.startswith("access-control")]
