"""The verb: what it prints and writes, which settings it takes, and how it ends."""

import json

import pytest
from typer.testing import CliRunner

from protoquant.cli.main import app
from tests.builders.faults import CLASSES, paint, save


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with twelve small images of two classes, one of them twice."""
    for seed in range(12):
        save(tmp_path / "data" / CLASSES[seed % 2] / f"{seed * 7919 % 97}.jpg", paint(seed, CLASSES[seed % 2]))
    save(tmp_path / "data/ant/again.jpg", paint(0, "ant"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str):
    return CliRunner().invoke(app, ["doctor", *words])


def test_it_prints_kinds_and_counts_and_ends_well_whatever_it_finds(here):
    done = run("data")
    assert done.exit_code == 0, done.output
    assert "duplicate" in done.stdout
    assert "2 files with the same pixels" in " ".join(done.stdout.replace("│", " ").split())
    assert done.stdout.rstrip().endswith("page: doctor/doctor.html")
    assert sorted(path.name for path in (here / "doctor").iterdir()) == [
        "doctor.html", "doctor.json", "manifest.json", "suspects.csv",
    ]  # fmt: skip


def test_json_is_that_of_the_file(here):
    done = run("data", "--out", "found", "--json")
    assert json.loads(done.stdout) == json.loads((here / "found/doctor.json").read_text())


def test_settings_are_those_of_params_if_they_are_about_this_root(here):
    section = "prepare:\n  reader: image_folder\n  root: data\n  min_side: 300\n"
    (here / "params.yaml").write_text(section)
    assert "left out: 13 too_small" in run("data").output
    assert run("data", "--reader", "image_folder").exit_code == 0
    (here / "params.yaml").write_text(section.replace("root: data", "root: other"))
    assert run("data", "--out", "other").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 2, "there is no nowhere"),
        (["data", "--out", "data"], 2, "holds other things"),
        (["data", "--reader", "nothing"], 2, "nothing"),
        (["data", "--features", "nowhere"], 1, "no feature-store at nowhere"),
    ],
)
def test_a_mistake_is_one_line(here, words, code, said):
    done = run(*words)
    assert done.exit_code == code
    assert said in " ".join(done.output.split())
    assert "Traceback" not in done.output
