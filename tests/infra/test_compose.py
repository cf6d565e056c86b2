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
from ruamel.yaml import YAML

from infra.stack.place import containers
from infra.stack.services import SERVICES, Http, Service

INFRA = Path(__file__).parents[2] / "infra"


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((INFRA / name).read_text())
    return found


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return load("compose.yaml")


def test_compose_follows_its_specification() -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*words, INFRA / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_are_those_of_the_stack(compose: dict[str, Any]) -> None:
    assert list(compose["services"]) == list(SERVICES)


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_a_service_is_the_same_in_both(compose: dict[str, Any], service: Service) -> None:
    place, found = containers(), compose["services"][service.name]
    assert tuple(found["command"]) == place.words(service.command)
    environment = place.variables(service.environment)
    assert {name: found["environment"][name] for name in environment} == environment
    port = place.port[service.name]
    if service.name == "runner":
        assert found["network_mode"] == "service:ray"
    else:
        assert found["ports"] == [f"127.0.0.1:{port}:{port}"]
    test = found["healthcheck"]["test"]
    if isinstance(service.health, Http):
        assert f"http://127.0.0.1:{port}{service.health.path}" in test[-1]
    else:
        assert test == ["CMD", *place.words(service.health.words)]
    needs = {*service.needs, *(("ray",) if service.name == "runner" else ())}
    assert found.get("depends_on", {}) == {name: {"condition": "service_healthy"} for name in needs}


def test_images_are_pinned_and_no_password_has_a_default(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.fullmatch(r"postgres:\d+\.\d+-\w+|protoquant:\$\{PROTOQUANT_VARIANT:-cpu\}", service["image"]), name
        for variable, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|TOKEN|ACCESS_KEY", variable):
                assert value.startswith("${"), variable
                assert ":?" in value, variable
    first = re.findall(r"^FROM (\S+)", (INFRA / "Dockerfile").read_text(), re.MULTILINE)[0]
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", first)
    assert "USER protoquant" in (INFRA / "Dockerfile").read_text()


def test_the_databases_are_made(compose: dict[str, Any]) -> None:
    from infra.stack.services import DATABASES

    made = re.findall(r"CREATE DATABASE (\w+);", compose["configs"]["databases"]["content"])
    assert tuple(made) == DATABASES


def test_the_ray_cluster_follows_rays_schema() -> None:
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(load("ray/cluster.yaml"), schema)


def test_kubernetes_names_what_the_project_has() -> None:
    cluster, runner = load("kubernetes/raycluster.yaml"), load("kubernetes/prefect-worker.yaml")
    constraints = (INFRA.parent / "constraints.txt").read_text()
    assert f"ray=={cluster['spec']['rayVersion']}" in constraints
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert (runner["apiVersion"], runner["kind"]) == ("apps/v1", "Deployment")
    pod = runner["spec"]["template"]
    assert runner["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    container = pod["spec"]["containers"][0]
    assert tuple(container["command"]) == SERVICES["runner"].command
    assert not any(re.search("PASSWORD|SECRET|TOKEN|KEY", one["name"]) for one in container["env"])
    mounted = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == mounted
