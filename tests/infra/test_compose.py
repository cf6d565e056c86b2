"""What cannot run here is held against schemas, and against the stack that does run."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prometheus_client import start_http_server
from ruamel.yaml import YAML

from infra.stack.certificates import paths
from infra.stack.health import container_words
from infra.stack.passwords import SECRETS
from infra.stack.place import containers
from infra.stack.services import DATABASES, PORTS, SERVICES, Command, Service

INFRA = Path(__file__).parents[2] / "infra"
OF_IMAGES = {
    "postgres": {
        "POSTGRES_USER": "protoquant",
        "POSTGRES_DB": "postgres",
        "POSTGRES_PASSWORD": containers().secret["POSTGRES_PASSWORD"],
        "POSTGRES_INITDB_ARGS": "--auth=scram-sha-256",
    },
    "mlflow": {"PGPASSWORD": containers().secret["POSTGRES_PASSWORD"]},
}
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
each_pod = pytest.mark.parametrize("name", ["runner", "head", "worker"])


def load(name: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all((INFRA / name).read_text()))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return load("compose.yaml")[0]


@pytest.fixture(scope="module")
def pods() -> dict[str, dict[str, Any]]:
    runner, cluster = load("kubernetes/prefect-worker.yaml")[0], load("kubernetes/raycluster.yaml")[0]
    return {
        "runner": runner["spec"]["template"]["spec"],
        "head": cluster["spec"]["headGroupSpec"]["template"]["spec"],
        "worker": cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"],
    }


@pytest.mark.process
def test_compose_follows_its_specification() -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*words, INFRA / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_are_those_of_the_stack(compose: dict[str, Any]) -> None:
    assert list(compose["services"]) == list(SERVICES)


@each_service
def test_a_service_is_the_same_in_both(compose: dict[str, Any], service: Service) -> None:
    place, found = containers(), compose["services"][service.name]
    assert tuple(found["command"]) == place.words(service.command)
    assert found["environment"] == place.variables(service.environment) | OF_IMAGES.get(service.name, {})
    assert found["healthcheck"]["test"] == ["CMD", *container_words(service, place)]
    needs = {*service.needs, *(("ray",) if service.name == "runner" else ())}
    assert found.get("depends_on", {}) == {name: {"condition": "service_healthy"} for name in needs}


@each_service
def test_only_what_has_an_address_for_people_is_published_and_on_loopback(
    compose: dict[str, Any], service: Service
) -> None:
    port = containers().port.get(service.name)
    assert compose["services"][service.name].get("ports", []) == ([f"127.0.0.1:{port}:{port}"] if service.url else [])


@each_service
def test_a_service_reaches_those_it_needs_alone(compose: dict[str, Any], service: Service) -> None:
    needed = {need for one in SERVICES.values() for need in one.needs}
    found = compose["services"][service.name]
    if service.name == "runner":
        assert (found["network_mode"], "networks" in found) == ("service:ray", False)
        return
    own = {service.name} & needed
    assert set(found["networks"]) == own | set(SERVICES["runner" if service.name == "ray" else service.name].needs)
    assert set(compose["networks"]) == needed


@each_service
def test_a_container_may_do_and_write_what_is_named_alone(compose: dict[str, Any], service: Service) -> None:
    found = compose["services"][service.name]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["read_only"] is True
    assert not {"cap_add", "privileged", "devices", "configs", "secrets"} & set(found)
    assert re.fullmatch(r"\d+g|\$\{PROTOQUANT_MEMORY:-\d+g\}", found["mem_limit"])
    assert found["pids_limit"] > 0
    assert all(re.fullmatch(r"/[\w/]+:\S*size=\d+[mg]", one) for one in found["tmpfs"])
    for volume in found["volumes"]:
        path, _, mode = volume.partition(":")[2].partition(":") if isinstance(volume, str) else ("", "", "ro")
        assert mode == "ro" or path in ("/data", "/var/lib/postgresql/data", "/tmp/ray", "/work"), volume
    assert found.get("user", "protoquant") == ("postgres" if service.name == "postgres" else "protoquant")


@each_service
def test_who_uses_the_certificate_and_no_other_has_it(compose: dict[str, Any], service: Service) -> None:
    place, found = containers(), compose["services"][service.name]
    uses = set(paths("/certificates").values()) & set(place.variables(service.environment).values())
    mounted = [one for one in found["volumes"] if isinstance(one, dict)]
    expected = {
        "type": "bind",
        "source": "./certificates",
        "target": "/certificates",
        "read_only": True,
        "bind": {"create_host_path": False},
    }
    assert mounted == ([expected] if uses else [])


@each_service
def test_files_of_a_service_are_those_of_the_stack_without_the_password(
    compose: dict[str, Any], service: Service
) -> None:
    place = containers()
    mounts = [volume.split(":") for volume in compose["services"][service.name]["volumes"] if isinstance(volume, str)]
    for name, content in service.files.items():
        (source,) = [one[0] for one in mounts if one[1] == f"{place.data[service.name]}/{name}"]
        expected = place.fill(content).replace(f":{place.secret['POSTGRES_PASSWORD']}", "")
        assert (INFRA / source).read_text() == expected


def test_the_runner_is_a_driver_of_ray(compose: dict[str, Any]) -> None:
    ray, runner = compose["services"]["ray"], compose["services"]["runner"]
    assert (runner["network_mode"], runner["pid"]) == ("service:ray", "service:ray")
    assert {"ray:/tmp/ray", "..:/work"} <= {str(one) for one in ray["volumes"]} & {
        str(one) for one in runner["volumes"]
    }
    assert ray["shm_size"] == ray["mem_limit"], "else Ray keeps its objects in /tmp/ray"


def test_images_are_pinned_and_secrets_have_no_value_and_no_default(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.fullmatch(r"postgres:\d+\.\d+-\w+|protoquant:\$\{PROTOQUANT_VARIANT:-cpu\}", service["image"]), name
        for variable, value in service["environment"].items():
            if re.search(r"PASSWORD|SECRET|TOKEN|KEY|AUTH_STRING", variable):
                assert value.startswith(("${", "/certificates/")), variable
    used = re.findall(r"\$\{(\w+)(:.)", (INFRA / "compose.yaml").read_text())
    assert {name for name, kind in used if kind == ":?"} == set(SECRETS)
    assert not {name for name, kind in used if kind != ":?"} & set(SECRETS)
    dockerfile = (INFRA / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", stages[0][0])
    assert {"user.name", "user.email"} <= set(re.findall(r"git config --system (\S+)", dockerfile)), (
        "no run ends without"
    )
    assert dockerfile.count("USER protoquant") == len({"cpu", "cuda"} & {stage for _, stage in stages}) == 2
    assert {"infra/.env", "infra/certificates"} <= set((INFRA.parent / ".dockerignore").read_text().split())


def test_the_databases_are_made(compose: dict[str, Any]) -> None:
    assert "./databases.sql:/docker-entrypoint-initdb.d/databases.sql:ro" in compose["services"]["postgres"]["volumes"]
    made = re.findall(r"CREATE DATABASE (\w+);", (INFRA / "databases.sql").read_text())
    assert tuple(made) == DATABASES


def test_the_ray_cluster_follows_rays_schema_and_opens_no_metrics() -> None:
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    (cluster,) = load("ray/cluster.yaml")
    jsonschema.validate(cluster, schema)
    (start,) = [one for one in cluster["head_start_ray_commands"] if "ray start" in one]
    assert "--include-dashboard=false" in start
    assert "--no-monitor" not in start, "it is the autoscaler"
    (port,) = re.findall(r"AUTOSCALER_METRIC_PORT=(\S+)", start)
    with pytest.raises(OSError, match=r"not supported|out of range"):
        start_http_server(int(port))


def test_kubernetes_names_what_the_project_has() -> None:
    cluster, runner = load("kubernetes/raycluster.yaml")[0], load("kubernetes/prefect-worker.yaml")[0]
    constraints = (INFRA.parent / "constraints.txt").read_text()
    assert f"ray=={cluster['spec']['rayVersion']}" in constraints
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert (runner["apiVersion"], runner["kind"]) == ("apps/v1", "Deployment")
    pod = runner["spec"]["template"]
    assert runner["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    container, health = pod["spec"]["containers"][0], SERVICES["runner"].health
    assert isinstance(health, Command)
    assert tuple(container["command"]) == SERVICES["runner"].command
    assert "env" not in container, "addresses and logins are in the secret"
    assert container["livenessProbe"]["exec"]["command"] == list(health.words)
    minutes = container["livenessProbe"]["failureThreshold"] * container["livenessProbe"]["periodSeconds"] / 60
    assert minutes >= 10, "a server that is away for some minutes ends no run"


@each_pod
def test_a_pod_may_do_and_write_what_is_named_alone(pods: dict[str, dict[str, Any]], name: str) -> None:
    pod = pods[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert "ports" not in container
    assert container["resources"]["limits"]["memory"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert all(volume.get("emptyDir", {"sizeLimit": "claim"})["sizeLimit"] for volume in pod["volumes"])


def test_rays_pods_have_no_dashboard_and_probes_that_need_none(pods: dict[str, dict[str, Any]]) -> None:
    spec = load("kubernetes/raycluster.yaml")[0]["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    head = spec["headGroupSpec"]["rayStartParams"]
    assert (head["include-dashboard"], head["no-monitor"], "dashboard-host" in head) == ("false", "true", False)
    for name in ("head", "worker"):
        (container,) = pods[name]["containers"]
        for probe in (container["livenessProbe"], container["readinessProbe"]):
            assert {"exec", "tcpSocket"} & set(probe)
            assert "wget" not in str(probe)


def test_nobody_reaches_the_runner() -> None:
    runner, policy = load("kubernetes/prefect-worker.yaml")
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["podSelector"]["matchLabels"] == runner["spec"]["template"]["metadata"]["labels"]
    assert (policy["spec"]["policyTypes"], policy["spec"]["ingress"]) == (["Ingress", "Egress"], [])
    ports = {one["port"] for rule in policy["spec"]["egress"] for one in rule["ports"]}
    assert ports == {53, 443, *(PORTS[name] for name in SERVICES["runner"].needs)}


def test_rays_pods_reach_each_other_alone() -> None:
    cluster, policy = load("kubernetes/raycluster.yaml")
    pods = {"matchLabels": {"ray.io/cluster": cluster["metadata"]["name"]}}  # KubeRay's label
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["podSelector"] == pods
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = policy["spec"]["ingress"]
    assert ingress["from"] == [{"podSelector": pods}]
    opened = {port for one in ingress["ports"] for port in range(one["port"], one.get("endPort", one["port"]) + 1)}
    spec = cluster["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        given = {int(value) for name, value in group["rayStartParams"].items() if name.endswith("-port")}
        assert len(given) == 3
        assert given <= opened
    assert not {8080, 8265, 10001, 44217, 52365} & opened
