"""What the ports of a stack answer to whoever has no secret: ``python -m tests.infra.doors FOLDER`` prints a table."""

import json
import re
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from infra.stack.services import MLFLOW
from infra.stack.stack import ROOT, Stack
from infra.stack.supervise import plain_environment, variables

Routes = Sequence[tuple[str, str]]
SENDERS: dict[str, dict[str, str]] = {
    "a program": {},
    "a rebound name": {"Host": "rebound.example", "Origin": "http://foreign.example"},
    "another port": {"Origin": "http://127.0.0.1:9"},
}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
ANY_PORT = (
    *(("GET", path) for path in ("/", "/metrics", "/status", "/healthz", "/debug/pprof/heap", "/debug/vars")),
    *(("GET", path) for path in ("/dir/assign", "/dir/lookup?volumeId=1&read=yes", "/dir/status", "/cluster/status")),
    *(("GET", path) for path in ("/vol/grow?count=1", "/ui/index.html", "/buckets/", "/1,01", "/mlflow", "/data/new")),
    *((method, path) for method in ("PUT", "POST", "DELETE") for path in ("/buckets/data/new", "/data/new", "/1,01")),
    *(("POST", path) for path in ("/shutdown", "/submit", "/get_or_create_runtime_env")),
    ("OPTIONS", "/data/new"),
)
PREFECT_PAGES = ("/docs", "/redoc", "/openapi.json", "/ui-settings", "/flows", "/api/docs", "/api/openapi.json")
PREFECT_SOCKETS = (
    "/api/events/in",
    "/api/events/out",
    "/api/logs/out",
    "/api/task_runs/subscriptions/scheduled",
    "/api/work_pools/any/workers/connect",
)
MLFLOW_DETOURS = (
    *(f"{open_}{back}/ajax-api/2.0/mlflow/experiments/get?experiment_id=0" for open_ in ("/static", "/health")
      for back in ("/..", "/%2e%2e", "/..%2f..", "//")),
    "//ajax-api/2.0/mlflow/experiments/get?experiment_id=0",
)  # fmt: skip
# An empty message of the last ends a Ray head that has token authentication alone
GRPC = (
    "/master_pb.Seaweed/Assign",
    "/filer_pb.SeaweedFiler/ListEntries",
    "/volume_server_pb.VolumeServer/VolumeServerStatus",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.syncer.RaySyncer/StartSync",
)
MLFLOW_ROUTES = """
import json
from mlflow.server import app
from protoquant.tracking.connection.server import create_app
known = {(method.upper(), path) for path, methods in create_app().openapi()["paths"].items() for method in methods}
known |= {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD", "OPTIONS"}}
print(json.dumps(sorted(known)))
"""


class Port(NamedTuple):
    """Where a process of the stack listens."""

    number: int
    address: str
    service: str
    process: str


class Answer(NamedTuple):
    """What one question got; status 0 if there was no answer, and the text says why."""

    port: Port
    scheme: str
    sender: str
    method: str
    path: str
    status: int
    text: str
    readable: str = ""
    """``Access-Control-Allow-Origin``."""

    @property
    def refused(self) -> bool:
        """Whether it gives nothing: no connection, no permission, or no such page outside of the interfaces."""
        if self.status == 0:
            return self.text not in ("ReadTimeout", "TimeoutError")  # taken, and waiting for more
        outside = not self.path.startswith(("/api/", "/ajax-api/"))
        return self.status in (401, 403) or (self.status in (400, 404, 405) and outside and len(self.text) < 300)


def listening(stack: Stack) -> list[Port]:
    """Find every port of a stack by its processes, among them those that forgot whose children they are."""
    owners = {process: process.environ().get("SUPERVISOR_PROCESS_NAME", "") for process in stack.supervisor.processes()}
    for process, service in list(owners.items()):
        with suppress(psutil.NoSuchProcess):
            owners |= {child: service for child in process.children(recursive=True) if service and child not in owners}
    found = set()
    for process, service in owners.items():
        with suppress(psutil.NoSuchProcess):
            for one in process.net_connections("inet"):
                if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and not one.raddr):
                    found.add(Port(one.laddr.port, _reached(stack, one.laddr.ip, service), service, process.name()))
    return sorted(found)


def _reached(stack: Stack, address: str, service: str) -> str:
    return stack.place.host[service] if address in ("::", "0.0.0.0") else address  # noqa: S104  compared, not bound


def scan(stack: Stack) -> list[Answer]:
    """Ask every port all that strangers and foreign pages may ask."""
    known = {"mlflow": _mlflow_routes(stack), "prefect": _prefect_routes(stack)}
    ports = listening(stack)
    main = [port.number == stack.place.port.get(port.service) for port in ports]
    more = [known.get(port.service, []) if own else [] for port, own in zip(ports, main, strict=True)]
    with ThreadPoolExecutor() as pool:
        return [answer for answers in pool.map(_ask_port, ports, more) for answer in answers]


def _ask_port(port: Port, more: Routes) -> list[Answer]:
    answers: list[Answer] = []
    for scheme in ("http", "https"):
        (first,) = _ask(port, scheme, "a program", ANY_PORT[:1])
        asked = [*ANY_PORT, *more] if first.status else ANY_PORT[:1]
        for sender in SENDERS:
            answers += _ask(port, scheme, sender, asked)
    for scheme in ("grpc", "grpcs"):
        answers += _ask(port, scheme, "a program", [("POST", method) for method in GRPC])
    return [*answers, *(_ask_sockets(port) if more and port.service == "prefect" else ())]


def _ask(port: Port, scheme: str, sender: str, questions: Routes) -> Iterator[Answer]:
    grpc = scheme.startswith("grpc")
    base = f"{'https' if scheme in ('https', 'grpcs') else 'http'}://{port.address}:{port.number}"
    content = b"\0" * 5 if grpc else b"{}"  # an empty message
    kind = {"Content-Type": "application/grpc", "TE": "trailers"} if grpc else {"Content-Type": "application/json"}
    with httpx.Client(verify=False, trust_env=False, timeout=60, http1=not grpc, http2=grpc) as client:  # noqa: S501
        for method, path in questions:
            headers = SENDERS[sender] | kind | (PREFLIGHT if method == "OPTIONS" else {})
            body = content if method in ("POST", "PUT", "PATCH") else None
            try:
                reply = client.request(method, base + path, headers=headers, content=body)
                readable = reply.headers.get("access-control-allow-origin", "")
                yield Answer(port, scheme, sender, method, path, reply.status_code, reply.text, readable)
            except httpx.HTTPError as error:
                yield Answer(port, scheme, sender, method, path, 0, type(error).__name__)


def _ask_sockets(port: Port) -> Iterator[Answer]:
    base = f"ws://{port.address}:{port.number}"
    for path in PREFECT_SOCKETS:
        for sender, origin in (("a program", None), ("another port", SENDERS["another port"]["Origin"])):
            for greeting in ({"type": "auth", "token": "wrong"}, {"type": "filter", "filter": {}}):
                status, text = 0, ""
                try:
                    with connect(base + path, subprotocols=["prefect"], origin=origin, proxy=None) as line:
                        line.send(json.dumps(greeting))
                        status, text = 200, str(line.recv(timeout=10))
                        if "auth" in text and "success" not in text:  # a refusal before the end
                            line.recv(timeout=10)
                except (ConnectionClosed, WebSocketException, TimeoutError) as error:
                    status, text = 0, type(error).__name__
                yield Answer(port, "websocket", sender, greeting["type"], path, status, text)


def _mlflow_routes(stack: Stack) -> Routes:
    environment = plain_environment() | variables(MLFLOW, stack.place) | {"_MLFLOW_SGI_NAME": "uvicorn"}
    command = [sys.executable, "-c", MLFLOW_ROUTES]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return [*((method, _filled(path)) for method, path in found), *(("GET", path) for path in MLFLOW_DETOURS)]


def _prefect_routes(stack: Stack) -> Routes:
    pages = stack.place.fill("http://127.0.0.1:{port[prefect]}")
    known = httpx.get(f"{pages}/openapi.json", trust_env=False, timeout=60).json()["paths"]
    found = [(method.upper(), "/api" + _filled(path)) for path, methods in known.items() for method in methods]
    return [*found, *(("GET", path) for path in PREFECT_PAGES)]


def _filled(path: str) -> str:
    return re.sub(r"[<{][^>}]*[>}]", "00000000-0000-0000-0000-000000000000", path)


def table(answers: list[Answer]) -> Iterator[str]:
    """Yield a line for each port and scheme: how often it gave which answer, and what it gave to all."""
    grouped = defaultdict(list)
    for answer in answers:
        grouped[answer.port, answer.scheme].append(answer)
    for (port, scheme), asked in grouped.items():
        counts: dict[str, int] = defaultdict(int)
        for one in asked:
            counts[str(one.status or one.text)] += 1
        gave = sorted({f"{one.method} {one.path}" for one in asked if not one.refused})
        words = ", ".join(f"{what} x{count}" for what, count in sorted(counts.items()))
        where = f"{port.number:<6}{port.address:<11}{port.service:<9}{port.process:<22}{scheme:<10}"
        yield f"{where}{words}{'; open: ' + ', '.join(gave) if gave else ''}"


if __name__ == "__main__":
    for _line in table(scan(Stack(Path(sys.argv[1])))):
        sys.stdout.write(f"{_line}\n")
