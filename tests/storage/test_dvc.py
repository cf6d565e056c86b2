"""DVC and S3: a root that DVC watches, and a remote on the same server. Real DVC, real server."""

import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.server

DVC = "dvc"
STAGE = """stages:
  prepare:
    cmd: echo ran > out.txt
    deps: ["${prepare.root}"]
    params: [prepare]
    outs: [out.txt]
"""


@pytest.fixture
def repository(store, tmp_path, programs):
    root = tmp_path / "work"
    root.mkdir()

    def run(*words, where=root, check=True):
        environment = os.environ | {"DVC_NO_ANALYTICS": "1", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(words, cwd=where, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("git", "init", "-q")
    run(DVC, "init", "-q")
    return root, run


def test_dvc_notices_what_changes_below_a_root_in_s3(store, repository):
    root, run = repository
    for name in ("a", "b"):
        store.put(f"birds/jay/{name}.png", b"one")
    store.put("birdsong/a.wav", b"one")
    (root / "params.yaml").write_text(f"prepare:\n  root: s3://{store.bucket}/birds\n")
    (root / "dvc.yaml").write_text(STAGE)

    def runs():
        said = run(DVC, "repro")
        assert ("Running stage 'prepare'" in said) != ("didn't change, skipping" in said)
        return "Running stage 'prepare'" in said

    assert runs()
    assert not runs()
    store.put("birdsong/a.wav", b"two")
    assert not runs()
    store.put("birds/jay/a.png", b"two")
    assert runs()
    assert not runs()
    store.delete("birds/jay/b.png")
    assert "modified" in run(DVC, "status")
    assert runs()
    store.put("birds/owl/a.png", b"one")
    assert runs()
    assert not runs()


def test_a_remote_gives_back_what_was_pushed(store, repository):
    root, run = repository
    files = {"small.bin": b"small" * 100, "big.bin": os.urandom(101 * 2**20)}
    (root / "data").mkdir()
    for name, data in files.items():
        (root / "data" / name).write_bytes(data)
    run(DVC, "remote", "add", "--default", "team", f"s3://{store.bucket}/cache")
    run(DVC, "add", "data")
    run("git", "add", "-A")
    run("git", "-c", "user.name=n", "-c", "user.email=e@e", "commit", "-qm", "data")
    run(DVC, "push")
    sent = store.client.api.list_objects_v2(Bucket=store.bucket, Prefix="cache/")["Contents"]
    (big,) = [item for item in sent if item["Size"] == len(files["big.bin"])]
    assert "-" in big["ETag"]  # went in parts: DVC sends what is smaller than 100 MiB at once
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "data")
    fresh = root.parent / "fresh"
    run("git", "clone", "-q", str(root), str(fresh))
    for where in (root, fresh):
        run(DVC, "pull", where=where)
        assert {path.name: path.read_bytes() for path in (where / "data").iterdir()} == files
