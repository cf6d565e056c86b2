"""What a real stack gives to whoever has no secret, and to the pages that its user's browser shows: nothing."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from playwright.sync_api import Browser, Page, expect

from infra.stack import programs
from infra.stack.services import BUCKETS, S3
from infra.stack.stack import Stack
from infra.stack.supervise import plain_environment, variables
from tests.browser import chromium, elsewhere
from tests.infra import pages
from tests.infra.conftest import SERVERS
from tests.infra.doors import listening, scan

pytestmark = [pytest.mark.server, pytest.mark.browser]
ALL = (*SERVERS, "ray")
OPEN = {
    ("prefect", "GET", "/api/health"): "health: true",
    ("prefect", "GET", "/api/ready"): "health: OK",
    ("prefect", "GET", "/"): "the page that asks for the login",
    ("prefect", "GET", "/ui-settings"): "facts that this page needs: addresses, and that there is a login",
    ("prefect", "GET", "/docs"): "a page about the interface, the same in every installation",
    ("prefect", "GET", "/redoc"): "a page about the interface, the same in every installation",
    ("prefect", "GET", "/openapi.json"): "the interface, the same in every installation",
    ("mlflow", "GET", "/health"): "health: OK",
    ("mlflow", "GET", "/api/3.0/mlflow/server-info"): "which features the server has",
    ("mlflow", "GET", "/ajax-api/3.0/mlflow/server-info"): "which features the server has",
    ("s3", "GET", "/healthz"): "health: empty",
    ("s3", "GET", "/status"): "health: empty",
    ("s3", "OPTIONS", "/data/new"): "what a program may ask for: empty, and refused to pages",
}
"""All that is answered without a secret, and why."""


@pytest.fixture(scope="module")
def guarded(stack: Stack) -> Iterator[Stack]:
    """The stack with Ray, without the runner, whose one port awaits the tokens of its own children."""
    stack.up(ALL)
    yield stack
    stack.supervisor.stop("ray")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, to which every name of example leads to this machine."""
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def deployment(guarded: Stack) -> str:
    """What can be read or spoilt: a deployment and a variable of Prefect, a model and files of MLflow and S3."""
    with pages.prefect(guarded) as client:
        flow = client.post("/flows/", json={"name": "kept"}).json()["id"]
        made = client.post("/deployments/", json={"name": "kept", "flow_id": flow}).raise_for_status().json()["id"]
        client.post("/variables/", json={"name": "kept", "value": 1}).raise_for_status()
    with pages.mlflow(guarded) as client:
        client.post("/mlflow/registered-models/create", json={"name": "kept"}).raise_for_status()
        client.put("/mlflow-artifacts/artifacts/kept.txt", content=b"kept").raise_for_status()
    pages.s3(guarded).put_object(Bucket="data", Key="kept", Body=b"kept")
    return str(made)


def pids(stack: Stack) -> dict[str, tuple[str, int]]:
    return {one.name: (one.state, one.pid) for one in stack.status(ALL)}


def test_no_port_answers_who_has_no_secret_but_with_health_and_facts(guarded: Stack) -> None:
    before, ports = pids(guarded), listening(guarded)
    assert {port.number for port in ports} >= {
        number for name, number in guarded.place.port.items() if name.partition("_")[0] in ALL
    }
    assert {"raylet", "gcs_server"} <= {port.process for port in ports}, "unlisted ports count"
    answers = scan(guarded)
    given = [one for one in answers if not one.refused]
    assert {(one.port.service, one.method, one.path) for one in given} == OPEN.keys()
    assert {one.status for one in given} == {200}
    assert not [one for one in given if one.readable and one.text], "a foreign page reads it"
    assert {one.port for one in answers} >= set(ports)
    of_ray = {port for port in ports if port.process in ("gcs_server", "raylet")}
    assert of_ray <= set(listening(guarded)), "a question ended Ray, which its own process sees late"
    assert pids(guarded) == before, "a question ended a server"
    assert set(before.values()) == {("healthy", pid) for _, pid in before.values()}


def test_postgresql_asks_every_user_for_the_password(guarded: Stack) -> None:
    port, wrong = guarded.place.port["postgres"], "wrong"
    for user in ("protoquant", "postgres"):
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(host="127.0.0.1", port=port, user=user, password=wrong, dbname="prefect")
        with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
            psycopg2.connect(host="127.0.0.1", port=port, user=user, dbname="prefect", passfile=os.devnull)


def test_the_shell_of_seaweedfs_gets_nothing_without_the_certificate(guarded: Stack, tmp_path: Path) -> None:
    master, grpc = (guarded.place.port[name] for name in ("s3_master", "s3_master_grpc"))
    command = [programs.find("weed"), "shell", f"-master=127.0.0.1:{master}.{grpc}"]

    def listed(environment: dict[str, str], patience: float) -> str:
        asked = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip
        try:
            return asked.communicate("fs.ls /buckets\nexit\n", timeout=patience)[0]
        except subprocess.TimeoutExpired:  # it goes on trying
            asked.kill()
            return asked.communicate()[0]

    plain = plain_environment() | {"HOME": str(tmp_path)}
    assert set(BUCKETS) <= set(listed(plain | variables(S3, guarded.place), 60).split())
    assert not set(BUCKETS) & set(listed(plain, 3).split())


def test_other_users_reach_neither_the_supervisor_nor_the_secrets(guarded: Stack) -> None:
    kept = [
        guarded.folder / name for name in ("supervisor.sock", "env", "passwords", "supervisord.conf", "certificates")
    ]
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}
    if os.geteuid() != 0:
        assert guarded.folder.stat().st_mode & 0o077 == 0
        return
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run(
        [os.path.realpath("/usr/bin/python3"), "-c", code, kept[0]], user="nobody", group="nogroup", extra_groups=[],
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "PermissionError" in done.stderr


def _signed_in(browser: Browser, stack: Stack) -> Page:
    """A page of a browser that has the logins of MLflow and Prefect."""
    known = stack.env()
    page = browser.new_context().new_page()
    login = f"{known['MLFLOW_TRACKING_USERNAME']}:{known['MLFLOW_TRACKING_PASSWORD']}@"
    page.goto(known["MLFLOW_TRACKING_URI"].replace("://", f"://{login}"))  # from now on it sends them by itself
    _sign_in(page, "127.0.0.1", stack)
    return page


def _sign_in(page: Page, host: str, stack: Stack) -> None:
    page.goto(f"http://{host}:{stack.place.port['prefect']}/")
    page.locator("input").first.fill(stack.env()["PREFECT_API_AUTH_STRING"])
    page.keyboard.press("Enter")
    page.goto(f"http://{host}:{stack.place.port['prefect']}/deployments")
    expect(page.get_by_text("kept").first).to_be_visible(timeout=30_000)


def test_foreign_pages_read_nothing_and_change_nothing(
    guarded: Stack, browser: Browser, deployment: str, tmp_path: Path
) -> None:
    asked, before, running = (
        pages.tries(listening(guarded), deployment),
        pages.contents(guarded, deployment),
        pids(guarded),
    )
    page = _signed_in(browser, guarded)
    with elsewhere(tmp_path) as port:
        for origin in (f"http://foreign.example:{port}", f"http://127.0.0.1:{port}"):
            page.goto(origin)
            assert pages.read(page, asked) == []
    for service in ("prefect", "mlflow", "s3"):  # a foreign name that leads to the service itself
        own, rebound = (f"{name}:{guarded.place.port[service]}/" for name in ("127.0.0.1", "rebound.example"))
        page.goto(f"http://{rebound}")
        # The browser has no login for this name: where it may send one, it opens a dialog that asks for it
        there = [one | {"url": one["url"].replace(own, rebound), "credentials": "omit"} for one in asked]
        assert pages.read(page, [one for one in there if rebound in one["url"]]) == []
    assert pages.contents(guarded, deployment) == before
    assert pids(guarded) == running
    page.context.close()


def test_the_users_own_pages_work(guarded: Stack, browser: Browser, deployment: str) -> None:
    page, mlflow = _signed_in(browser, guarded), guarded.env()["MLFLOW_TRACKING_URI"]
    page.evaluate("target => { location = target }", f"{mlflow}/#/experiments/0")  # Prefect's page links to MLflow's
    page.wait_for_url("**/experiments/0**")
    expect(page.get_by_text("Default").first).to_be_visible(timeout=30_000)
    asked = pages.tries(listening(guarded), deployment)
    creating = [one for one in asked if one["url"].endswith("experiments/create") and one["way"] == "fetch"]
    assert [found[:2] for _, found in pages.read(page, creating[:1])] == [["basic", 200]]
    page.goto(f"{mlflow}/#/experiments")
    expect(page.get_by_text("new", exact=True).first).to_be_visible(timeout=30_000)
    _sign_in(page, "localhost", guarded)
    page.context.close()
