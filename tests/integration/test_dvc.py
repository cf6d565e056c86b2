"""The pipeline under real DVC: what reruns, what does not, and that reruns give the same bytes."""

import json
import re

import pytest

from protoquant.core.artifacts import artifact_digest, load_tensors, open_artifact
from protoquant.core.workspace import Workspace
from tests.workspaces import Job, stages_that_ran

pytestmark = pytest.mark.process


def test_a_second_run_finds_six_stages_unchanged_and_the_version_registered(job: Job) -> None:
    done = job.run("dvc", "repro")
    assert stages_that_ran(done.stdout) == ["code", "register"]
    assert done.stdout.count("didn't change, skipping") == 6
    assert "already registered as version 1" in done.stdout + done.stderr


def test_the_dag_metrics_and_plots_are_shown(job: Job) -> None:
    dag = job.run("dvc", "dag", "--mermaid").stdout
    assert all(name in dag for name in ("prepare", "extract", "quantize", "train", "evaluate", "visualize", "register"))
    metrics = json.loads(job.run("dvc", "metrics", "show", "--json").stdout)
    assert "top1" in json.dumps(metrics)
    job.run("dvc", "plots", "show")
    page = (job.root / "dvc_plots" / "index.html").read_text()
    assert page.count("vegaEmbed") >= 3


def test_a_change_of_train_reruns_train_and_what_follows(job: Job) -> None:
    before = job.lock()
    job.set("train.tolerance", 0.05)
    done = job.run("dvc", "repro")
    assert stages_that_ran(done.stdout)[:2] == ["code", "train"]
    assert {"prepare", "extract", "quantize"}.isdisjoint(stages_that_ran(done.stdout))
    job.set("train.tolerance", 0.01)
    job.run("dvc", "repro")
    assert job.lock() == before


def test_another_size_of_the_codebook_alone_gives_another_codebook_and_the_old_one_comes_back(job: Job) -> None:
    """DVC's run cache overlooks keys called ``size``: it restored the old codebook under the new size."""
    folder, before = Workspace(job.root).codebook, job.lock()
    old, codes = artifact_digest(folder), len(load_tensors(folder / "codebook.safetensors")["codes"])
    job.set("quantize.size", 2)
    assert stages_that_ran(job.run("dvc", "repro", "quantize").stdout) == ["code", "quantize"]
    assert len(load_tensors(folder / "codebook.safetensors")["codes"]) != codes
    job.set("quantize.size", 5)
    assert stages_that_ran(job.run("dvc", "repro", "quantize").stdout) == ["code"]
    assert (artifact_digest(folder), job.lock()) == (old, before)


def test_codes_seeded_on_the_object_name_the_masks_and_others_do_not_depend_on_them(job: Job) -> None:
    workspace, before = Workspace(job.root), job.lock()
    assert b"artifacts/parts/seen-false.json" in before
    assert "parts/train" not in open_artifact(workspace.codebook, "codebook").inputs
    job.set("quantize.seeding_on_object", True)
    assert stages_that_ran(job.run("dvc", "repro", "quantize").stdout) == ["code", "quantize"]
    assert b"artifacts/parts/seen-true.json" in job.lock()
    seen = open_artifact(workspace.codebook, "codebook").inputs["parts/train"]
    assert seen == artifact_digest(workspace.parts / "train")
    job.set("quantize.seeding_on_object", False)
    assert stages_that_ran(job.run("dvc", "repro", "quantize").stdout) == ["code"]
    assert job.lock() == before


def test_a_forced_run_gives_the_same_bytes(job: Job) -> None:
    before = job.lock()
    job.run("dvc", "repro", "--force")
    assert job.lock() == before


def test_another_test_image_changes_no_model(job: Job) -> None:
    workspace = Workspace(job.root)
    before = artifact_digest(workspace.bundle)
    job.spec(test=5)
    done = job.run("dvc", "repro", "evaluate")
    assert stages_that_ran(done.stdout) == ["code", "prepare", "extract", "evaluate"]
    assert artifact_digest(workspace.bundle) == before


def test_a_typo_is_one_line_before_any_work(job: Job) -> None:
    params = job.root / "params.yaml"
    text = params.read_text()
    for wrong, sentence in [
        (text.replace("quantize:", "quantise:"), "unknown key 'quantise'; did you mean 'quantize'? (params.yaml)"),
        (re.sub(r"  size: \d+", "  size: -3", text), "quantize.size must be an integer >= 1 and <= 1000000, got -3"),
        (re.sub(r"  size: \d+", "  size: lots", text), "got 'lots' (params.yaml)"),
    ]:
        assert wrong != text
        params.write_text(wrong)
        done = job.run("protoquant", "train", check=False)
        params.write_text(text)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
