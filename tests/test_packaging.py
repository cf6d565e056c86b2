"""What a stranger meets first: packages that are what was pinned, a fast command line, light imports."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
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
    stages = ["code", "prepare", "extract", "quantize", "train", "evaluate", "visualize", "register"]
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


def hashed_pins() -> dict[str, list[str]]:
    lines = (ROOT / "hashes.txt").read_text().replace("\\\n", "").splitlines()
    return {pin.strip(): hashes for pin, *hashes in (re.split(r"\s+--hash=", line) for line in lines)}


def test_the_hashed_set_is_the_pinned_set() -> None:
    pins = hashed_pins()
    assert list(pins) == (ROOT / "constraints.txt").read_text().splitlines()
    assert all(hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes) for hashes in pins.values())


def test_the_hashed_set_has_what_every_extra_and_the_build_ask_for() -> None:
    pinned = {one.name: one for one in map(Requirement, hashed_pins())}
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = asked["project"]["optional-dependencies"].values()
    lists = [asked["build-system"]["requires"], asked["project"]["dependencies"], *extras]
    for one in (Requirement(text) for requirements in lists for text in requirements):
        if one.name != asked["project"]["name"]:
            (version,) = pinned[canonicalize_name(one.name)].specifier
            assert version.version in one.specifier


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project of this Makefile that needs one package, leaf, which lies in a folder."""
    with zipfile.ZipFile(tmp_path / "leaf-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("leaf.py", "")
        wheel.writestr("leaf-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: leaf\nVersion: 1\n")
        wheel.writestr("leaf-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("leaf-1.dist-info/RECORD", "")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "tree"\nversion = "1"\n[project.optional-dependencies]\nall = ["leaf"]\n'
    )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    (tmp_path / ".venv/bin/uv").symlink_to(Path(sys.executable).with_name("uv"))
    return tmp_path


def make(target: str, done: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """One target of the Makefile, with another one taken as done."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "UV_"))}
    return subprocess.run(
        ["make", "-o", done, target], cwd=folder, env=clean | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("pin", "refusal"),
    [
        ("leaf==1 --hash=sha256:{}", None),
        ("leaf==1 --hash=sha256:" + 64 * "0", "Hash mismatch for `leaf==1`"),
        ("leaf==1", "no trusted hash was provided for: `leaf`"),
    ],
    ids=["as pinned", "altered", "without a hash"],
)
def test_a_package_that_is_not_the_pinned_one_is_not_installed(pin: str, refusal: str | None, clone: Path) -> None:
    digest = hashlib.sha256((clone / "leaf-1-py3-none-any.whl").read_bytes()).hexdigest()
    (clone / "hashes.txt").write_text(pin.format(digest) + "\n")
    done = make(
        ".venv/.installed",
        "preflight",
        clone,
        UV_OFFLINE="1",
        UV_FIND_LINKS=str(clone),
        UV_CACHE_DIR=str(clone / "cache"),
    )
    assert [path.name for path in clone.glob(".venv/lib/python*/site-packages/leaf.py")] == ["leaf.py"] * (not refusal)
    assert (refusal or "setuptools") in done.stderr  # the build of the project itself has nothing to build with here
    assert not (clone / ".venv/.installed").exists()


def test_an_audit_without_the_network_is_one_line_and_fails(tmp_path: Path) -> None:
    done = make("audit", ".venv/.installed-dev", ROOT, HTTPS_PROXY="http://127.0.0.1:9", HOME=str(tmp_path))
    assert done.returncode == 2  # make's own for a command that failed
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("make"))
    assert "pypi.org" in line
    assert done.stdout == ""
