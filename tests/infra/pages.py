"""What a page in a browser tries at the ports of a stack, and what is in the stack."""

import base64
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
from playwright.sync_api import Page

from infra.stack.services import BUCKETS
from infra.stack.stack import Stack
from tests.infra.doors import Port

Try = dict[str, Any]
ATTEMPTS = """async tries => {
  const make = name => document.createElementNS('http://www.w3.org/1999/xhtml', name);  // S3's pages are XML
  const frame = () => {
    const made = make('iframe');
    made.name = 'frame' + Math.random();
    document.documentElement.append(made);
    return made;
  };
  const shown = made => {
    try {
      const [loaded] = made.contentWindow.performance.getEntriesByType('navigation');
      return ['frame', loaded.responseStatus, made.contentDocument.documentElement.innerText];
    } catch { return 'unreadable'; }
  };
  const embed = name => ({url}) => new Promise(done => {
    const made = make(name);
    made.onload = () => done([name, 200, 'loaded']);
    made.onerror = () => done('refused');
    made.src = url;
    document.documentElement.append(made);
  });
  const ways = {
    fetch: async ({url, method, mode, credentials, type, body}) => {
      const sent = {method, mode, credentials, headers: type ? {'Content-Type': type} : {}};
      try {
        const reply = await fetch(url, body === null ? sent : {...sent, body});
        return [reply.type, reply.status, await reply.text()];
      } catch (error) { return error.name; }
    },
    form: ({url, body}) => new Promise(done => {
      const made = frame(), form = make('form'), field = make('input');
      form.append(field);
      document.documentElement.append(form);
      [form.method, form.enctype, form.target, form.action] = ['POST', 'text/plain', made.name, url];
      [field.type, field.name, field.value] = ['hidden', body.slice(0, -1) + ',"', '":0}'];
      made.onload = () => done(shown(made));
      form.submit();
    }),
    iframe: ({url}) => new Promise(done => {
      const made = frame();
      made.onload = () => done(shown(made));
      made.src = url;
    }),
    img: embed('img'),
    script: embed('script'),
    socket: ({url, body}) => new Promise(done => {
      const line = new WebSocket(url, 'prefect');
      line.onopen = () => { line.send('{"type":"auth","token":null}'); line.send(body); };
      line.onmessage = message => done(['socket', 200, String(message.data)]);
      line.onclose = () => done('closed');
    }),
  };
  // A frame stays silent where what it shows is no page
  const late = way => new Promise(done => setTimeout(() => done('silence'), way === 'fetch' ? 60000 : 5000));
  return Promise.all(tries.map(one => Promise.race([ways[one.way](one), late(one.way)])));
}"""


def tries(ports: list[Port], deployment: str) -> list[Try]:
    """List all that a page can try: each request as fetch and, where they can send it, as form and elements."""
    event = (
        '{"occurred":"2026-01-01T00:00:00Z","event":"new","resource":{"prefect.resource.id":"new"},'
        '"id":"00000000-0000-0000-0000-000000000000"}'
    )
    requests = {
        "prefect": [
            ("GET", "/api/admin/settings", None),
            ("POST", "/api/deployments/filter", "{}"),
            ("POST", "/api/variables/", '{"name":"new","value":1}'),
            ("POST", f"/api/deployments/{deployment}/create_flow_run", '{"name":"new"}'),
            ("PATCH", f"/api/deployments/{deployment}", '{"pull_steps":[{"run":"new"}]}'),
            ("PUT", "/api/v2/concurrency_limits/new", '{"limit":1}'),
            ("DELETE", "/api/variables/name/kept", None),
        ],
        "mlflow": [
            ("GET", "/ajax-api/2.0/mlflow/experiments/search?max_results=9", None),
            ("GET", "/api/2.0/mlflow-artifacts/artifacts/kept.txt", None),
            ("POST", "/graphql", '{"query":"{__typename}"}'),
            ("POST", "/ajax-api/2.0/mlflow/experiments/create", '{"name":"new"}'),
            ("POST", "/api/2.0/mlflow/registered-models/create", '{"name":"new"}'),
            ("PATCH", "/api/2.0/mlflow/registered-models/update", '{"name":"kept","description":"new"}'),
            ("PUT", "/api/2.0/mlflow-artifacts/artifacts/new.txt", "new"),
            ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/kept.txt", None),
        ],
        "s3": [
            ("GET", "/data/kept", None),
            ("GET", "/buckets/data/kept", None),
            ("GET", "/dir/assign", None),
            ("PUT", "/data/new", "new"),
            ("POST", "/buckets/data/new", "{}"),
            ("DELETE", "/data/kept", None),
            ("DELETE", "/buckets/data/kept", None),
        ],
        "ray": [
            ("GET", "/", None),
            ("POST", "/get_or_create_runtime_env", "{}"),
            ("POST", "/ray.rpc.syncer.RaySyncer/StartSync", "{}"),
        ],
    }
    made = []
    for port in ports:
        base = f"{port.address}:{port.number}"
        for request in requests.get(port.service, []):
            made += [one | {"door": port.service} for one in _ways(f"http://{base}", *request)]
        if port.service == "prefect":
            for path in ("events/in", "events/out", "logs/out"):
                made.append({"way": "socket", "url": f"ws://{base}/api/{path}", "body": event, "door": "prefect"})
    return made


def _ways(base: str, method: str, path: str, body: str | None) -> Iterator[Try]:
    one: Try = {"url": base + path, "method": method, "body": body, "way": "fetch", "mode": "cors", "type": None}
    for credentials in ("include", "omit"):  # a server that lets all pages in lets them in without logins
        yield one | {"credentials": credentials, "type": "application/json" if body else None}
    if method in ("GET", "POST"):
        yield one | {"credentials": "include", "mode": "no-cors", "type": "text/plain" if body else None}
    if method == "POST":
        yield one | {"credentials": "include", "type": "text/plain"}
        yield one | {"way": "form"}
    if method == "GET":
        yield from (one | {"way": way} for way in ("img", "script", "iframe"))


def read(page: Page, asked: list[Try]) -> list[tuple[Try, Any]]:
    """Try all from a page and return what it could read: answers that are no refusals."""
    got = zip(asked, page.evaluate(ATTEMPTS, asked), strict=True)
    return [(one, found) for one, found in got if isinstance(found, list) and 0 < found[1] < 400]


def contents(stack: Stack, deployment: str) -> dict[str, Any]:
    """Return what is in Prefect, MLflow and S3, asked with the stack's secrets."""
    with prefect(stack) as client:
        found = {
            "variables": {one["name"]: one["value"] for one in client.post("/variables/filter", json={}).json()},
            "runs": [one["name"] for one in client.post("/flow_runs/filter", json={}).json()],
            "pull steps": client.get(f"/deployments/{deployment}").json()["pull_steps"],
            "limits": client.post("/v2/concurrency_limits/filter", json={}).json(),
            "events": client.post("/events/filter", json={"filter": {"event": {"name": ["new"]}}}).json()["events"],
        }
    with mlflow(stack) as client:
        listed = client.get("/mlflow/experiments/search?max_results=99").json()["experiments"]
        models = client.get("/mlflow/registered-models/search").json().get("registered_models", [])
        found["experiments"] = {one["name"] for one in listed}
        found["models"] = {one["name"]: one.get("description") for one in models}
    store = s3(stack)
    found["objects"] = {
        (bucket, one["Key"]): one["ETag"]
        for bucket in BUCKETS
        for one in store.list_objects_v2(Bucket=bucket).get("Contents", [])
    }
    return found


def prefect(stack: Stack) -> httpx.Client:
    """Prefect's API, with the secret."""
    known = stack.env()
    token = base64.b64encode(known["PREFECT_API_AUTH_STRING"].encode()).decode()
    headers = {"Authorization": f"Basic {token}"}
    return httpx.Client(trust_env=False, timeout=60, base_url=known["PREFECT_API_URL"], headers=headers)


def mlflow(stack: Stack) -> httpx.Client:
    """MLflow's API, with the secret."""
    known = stack.env()
    login = (known["MLFLOW_TRACKING_USERNAME"], known["MLFLOW_TRACKING_PASSWORD"])
    return httpx.Client(trust_env=False, timeout=60, auth=login, base_url=f"{known['MLFLOW_TRACKING_URI']}/api/2.0")


def s3(stack: Stack) -> Any:
    """The object store, with the secret."""
    known = stack.env()
    session = boto3.Session(known["AWS_ACCESS_KEY_ID"], known["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    return session.client("s3", endpoint_url=known["AWS_ENDPOINT_URL"])
