"""What a stranger meets first: a fast command line and light imports."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "timm", "pandas", "mlflow", "matplotlib", "sklearn", "scipy")


def run(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    "work",
    [
        "import protoquant",
        "from protoquant.cli.main import app\ntry: app(['--help'])\nexcept SystemExit: pass",
        "from protoquant.cli.main import app\ntry: app(['config', 'check'])\nexcept SystemExit: pass",
    ],
    ids=["import", "help", "config check"],
)
def test_no_heavy_package_is_loaded(work: str, tmp_path: Path) -> None:
    code = f"{work}\nimport sys\nprint('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    assert run(code, tmp_path).splitlines()[-1] == "loaded: []"


def test_help_lists_the_stages_in_the_order_of_the_pipeline(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "protoquant", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    stages = ["prepare", "extract", "quantize", "train", "evaluate", "visualize", "register"]
    places = [done.stdout.index(f" {stage} ") for stage in stages]
    assert places == sorted(places)


@pytest.mark.parametrize(("words", "code"), [(["nothing"], 2), (["config", "check"], 2), ([], 2)])
def test_wrong_use_ends_with_2_and_no_trace(words: list[str], code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "protoquant", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(("reader", "root"), [("image_folder", "birds.yaml"), ("partbirds", ".")])
def test_config_check_sees_a_root_that_its_reader_cannot_read(reader: str, root: str, tmp_path: Path) -> None:
    (tmp_path / "birds.yaml").write_text("seed: 0\n")
    (tmp_path / "params.yaml").write_text(f"prepare: {{reader: {reader}, root: {root}}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "protoquant", "config", "check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"with reader {reader}, got {root}" in " ".join(done.stderr.split())
