"""The stack with its real servers."""

import base64
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import boto3
import httpx
import psutil
import psycopg2
import pytest
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from infra.stack import passwords
from infra.stack.errors import StackError
from infra.stack.services import BUCKETS, SERVICES, USER
from infra.stack.stack import ROOT, Stack
from tests.infra.conftest import OFFSET, SERVERS

pytestmark = pytest.mark.server


@pytest.fixture
def client(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """MLflow, in an environment that has sourced the stack's variables."""
    for name, value in stack.env().items():
        monkeypatch.setenv(name, value)
    return MlflowClient()


def pids(stack: Stack) -> dict[str, int]:
    return {one.name: one.pid for one in stack.status(SERVERS)}


def test_all_are_healthy_and_reached_with_the_stacks_variables(stack: Stack, client: MlflowClient) -> None:
    assert {one.state for one in stack.status(SERVERS)} == {"healthy"}
    variables = stack.env()
    found = {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]}
    assert set(BUCKETS) <= found
    run = client.create_run(client.create_experiment("reached"))
    client.log_text(run.info.run_id, "kept in S3", "note.txt")
    listed = boto3.client("s3").list_objects_v2(Bucket="mlflow", Prefix="artifacts/")
    assert any(one["Key"].endswith("note.txt") for one in listed["Contents"])
    assert httpx.get(f"{variables['PREFECT_API_URL']}/health", timeout=60).json() is True
    page = httpx.get(variables["PREFECT_API_URL"].removesuffix("/api") + "/ui-settings", timeout=60).json()
    assert page["api_url"].endswith(f":{14200 + OFFSET}/api"), "the page asks its own server"


def test_up_again_changes_nothing(stack: Stack) -> None:
    before = pids(stack)
    stack.up(SERVERS)
    assert pids(stack) == before


def test_no_password_is_on_a_command_line_or_open_to_others(stack: Stack) -> None:
    secrets = passwords.read(stack.folder / "passwords")
    assert len(secrets) >= 3
    others = (process for process in psutil.process_iter(["cmdline"]) if process.pid != os.getpid())
    lines = [" ".join(process.info["cmdline"] or ()) for process in others]
    assert not [line for line in lines for secret in secrets.values() if secret in line]
    logs = "".join(path.read_text(errors="replace") for path in (stack.folder / "logs").iterdir())
    assert not [name for name, secret in secrets.items() if secret in logs]
    private = [path for path in stack.folder.rglob("*") if path.is_file() and _holds(path, secrets)]
    assert {path.name for path in private} >= {"passwords", "env", "auth.ini", "supervisord.conf"}
    assert not [path for path in private if not _is_private(path, stack.folder)]
    names = [".stack/env", "infra/.env", "infra/certificates/stack.key"]
    ignored = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == names


def _is_private(path: Path, top: Path) -> bool:
    """Whether a file, or a folder on the way to it, is closed to all but its owner."""
    way = [path, *path.parents]
    return any(one.stat().st_mode & 0o077 == 0 for one in way[: way.index(top)])


def _holds(path: Path, secrets: dict[str, str]) -> bool:
    text = path.read_text(errors="replace")
    return any(secret in text for secret in secrets.values())


def test_a_service_that_is_killed_comes_back(stack: Stack) -> None:
    before = pids(stack)["s3"]
    os.kill(before, 9)
    until = time.monotonic() + 60
    while stack.status(["s3"])[0].state != "healthy" or pids(stack)["s3"] == before:
        assert time.monotonic() < until
        time.sleep(0.1)
    stack.up(SERVERS)
    assert pids(stack)["mlflow"]


def test_down_leaves_no_process_and_up_finds_the_data_of_a_stack_with_fewer_secrets(
    stack: Stack, client: MlflowClient
) -> None:
    client.create_experiment("survives")
    secret = passwords.read(stack.folder / "passwords")
    stack.down()
    assert stack.supervisor.processes() == []
    assert {one.state for one in stack.status(SERVERS)} == {"stopped"}
    before = {"POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"}
    passwords.write(stack.folder / "passwords", {name: secret[name] for name in before})
    shutil.rmtree(stack.folder / "certificates")
    said: list[str] = []
    stack.up(SERVERS, say=said.append)
    now = passwords.read(stack.folder / "passwords")
    assert {name: now[name] for name in before} == {name: secret[name] for name in before}
    assert now["MLFLOW_TRACKING_PASSWORD"] != secret["MLFLOW_TRACKING_PASSWORD"]
    assert f"in open shells: source {stack.folder / 'env'}" in said[0]
    assert all(name in said[0] for name in secret.keys() - before)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = now["MLFLOW_TRACKING_PASSWORD"]  # the fixture sets it back
    assert client.get_experiment_by_name("survives") is not None


def test_rotated_secrets_alone_open_the_stack_and_the_data_stays(
    stack: Stack, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3.client("s3").put_object(Bucket="data", Key="survives", Body=b"1")
    client.create_experiment("rotated")
    before = passwords.read(stack.folder / "passwords")
    certificate = (stack.folder / "certificates" / "stack.pem").read_bytes()
    stack.rotate()
    after = passwords.read(stack.folder / "passwords")
    assert all(before[name] != after[name] for name in passwords.SECRETS)
    assert (stack.folder / "certificates" / "stack.pem").read_bytes() != certificate
    assert {one.state for one in stack.status(SERVERS)} == {"healthy"}
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        boto3.client("s3").list_buckets()
    with pytest.raises(MlflowException, match="not authenticated"):
        client.get_experiment_by_name("rotated")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(
            host="127.0.0.1", port=stack.place.port["postgres"], user=USER, dbname="mlflow",
            password=before["POSTGRES_PASSWORD"],
        )  # fmt: skip
    prefect = f"{stack.env()['PREFECT_API_URL']}/version"
    for known, status in ((before, 401), (after, 200)):
        login = base64.b64encode(known["PREFECT_API_AUTH_STRING"].encode()).decode()
        assert httpx.get(prefect, headers={"Authorization": f"Basic {login}"}, timeout=60).status_code == status
    for name, value in stack.env().items():
        monkeypatch.setenv(name, value)
    assert client.get_experiment_by_name("rotated") is not None
    assert boto3.Session().client("s3").get_object(Bucket="data", Key="survives")["Body"].read() == b"1"


def test_a_port_that_is_taken_is_one_sentence(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Stack(tmp_path_factory.mktemp("t") / "o", offset=OFFSET)
    with pytest.raises(StackError, match=r"port 17432 of postgres is taken by postgres \(pid \d+\)"):
        other.up(["postgres"])
    other.erase()
    with pytest.raises(StackError, match="its ports at offset"):
        Stack(stack.folder, offset=OFFSET + 1).up(SERVERS)


def test_the_commands_answer_in_lines(stack: Stack) -> None:
    words = [sys.executable, "-m", "infra.stack"]
    without = "runner,ray"
    done = subprocess.run(
        [*words, "status", "--folder", stack.folder, "--without", without],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [[name, "healthy"] for name in SERVERS]
    done = subprocess.run(
        [*words, "login", "--folder", stack.folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    logins = [line.split() for line in done.stdout.splitlines()[1:]]
    variables = stack.env()
    assert logins == [
        [variables["PREFECT_API_URL"].removesuffix("/api"), "(none)", variables["PREFECT_API_AUTH_STRING"]],
        [variables["MLFLOW_TRACKING_URI"], USER, variables["MLFLOW_TRACKING_PASSWORD"]],
    ]
    done = subprocess.run(
        [*words, "up", "--without", "mysql"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 2
    assert "expected some of postgres" in done.stderr


def test_every_need_is_a_service_that_comes_before() -> None:
    names = list(SERVICES)
    for service in SERVICES.values():
        assert all(names.index(needed) < names.index(service.name) for needed in service.needs)
