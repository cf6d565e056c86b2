"""What verbs import: each runs in a fresh process, the lightest first, which tells what large packages have come."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.backbones import load_backbone
from tests.builders.bundles import write_bundle
from tests.builders.models import bundle_of
from tests.builders.pictures import picture

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
LARGE = {
    "boto3",
    "matplotlib",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic_settings",
    "ray",
    "scipy",
    "sqlalchemy",
    "sympy",
    "timm",
    "torch",
    "torch._dynamo",
    "torchvision",
}
COMPILER = {"sympy", "torch._dynamo"}  # torchvision imports it, and timm imports torchvision
MODEL = {"numpy", "pydantic_settings", "timm", "torch", "torchvision"} | COMPILER
RUN = """
import json, sys
from contextlib import suppress
from protoquant.cli.main import app
verbs, large = json.loads(sys.argv[1])
come = {}
for verb in verbs:
    with suppress(SystemExit):
        app(verb.split())
    come[verb] = sorted(set(large) & set(sys.modules))
print()
print(json.dumps(come))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle on a tiny backbone, an image, and a params.yaml that ``config check`` finds valid."""
    root = tmp_path_factory.mktemp("startup")
    image = picture(1)
    image.save(root / "bird.png")
    write_bundle(root / "bundle", bundle_of(load_backbone(root), image))
    (root / "params.yaml").write_text("seed: 0\n")
    shutil.copytree(ROOT / "data", root / "data")
    return root


def come(workspace: Path, *verbs: str) -> dict[str, set[str]]:
    """Run verbs one after another in one process; returns the large packages that are there after each."""
    given = json.dumps([verbs, sorted(LARGE)])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", RUN, given]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    return {verb: set(names) for verb, names in json.loads(done.stdout.splitlines()[-1]).items()}


def test_predict_needs_the_backbone_alone_and_what_comes_before_it_nothing_large(workspace: Path) -> None:
    light = ("--help", "predict --help", "config show", "config check", "cache list", "registry list")
    found = come(workspace, *light, "predict bird.png -m bundle")
    assert [found[verb] for verb in light] == [set()] * len(light)
    assert found["predict bird.png -m bundle"] == MODEL


def test_verify_needs_no_backbone_and_an_explanation_no_registry(workspace: Path) -> None:
    found = come(workspace, "verify bundle", "predict bird.png -m bundle --json", "explain bird.png -m bundle")
    assert found["verify bundle"] == {"numpy", "pandas", "pyarrow", "torch"}
    assert found["predict bird.png -m bundle --json"] == MODEL | {"pandas", "pyarrow"}
    assert found["explain bird.png -m bundle"] == MODEL | {"matplotlib", "pandas", "pyarrow"}
    assert (workspace / "bird.explained.png").is_file()


def test_the_process_of_a_run_needs_nothing_large() -> None:
    code = "import json, sys, flows.serve; print(json.dumps(sorted(set(json.loads(sys.argv[1])) & set(sys.modules))))"
    command = [sys.executable, "-c", code, json.dumps(sorted(LARGE))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) <= {"pydantic_settings", "sqlalchemy"}  # Prefect's own
