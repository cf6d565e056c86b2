"""The verbs `storage init` and `publish`, as a user types them."""

import json
import os
import subprocess
import urllib.request
from uuid import uuid4

import pytest

pytestmark = pytest.mark.server


@pytest.fixture
def call(store, tmp_path, programs):
    def run(*words, **variables):
        command = [programs / "protoquant", *words]
        environment = os.environ | {"COLUMNS": "200", **variables}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done

    return run


def test_init_says_what_was_done_and_what_was_there(call):
    name = f"new-{uuid4().hex[:8]}"
    first = json.loads(call("storage", "init", name, "--json").stdout)
    assert [step["outcome"] for step in first[name]] == ["done"] * 4
    again = call("storage", "init", f"s3://{name}/")
    assert again.returncode == 0
    assert again.stdout.count("already") == 4
    wrong = call("storage", "init", "My_Bucket")
    assert wrong.returncode == 2
    assert "a bucket name has 3 to 63 small letters" in wrong.stderr


def test_publish_prints_the_uri_and_the_link(call, store, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("<p>seen</p>")
    uri, link = call("publish", "report", f"s3://{store.bucket}/r", "--expires", "2").stdout.split()
    assert uri == f"s3://{store.bucket}/r/index.html"
    with urllib.request.urlopen(link, timeout=30) as page:  # noqa: S310 (loopback)
        assert page.read() == b"<p>seen</p>"
    found = json.loads(call("publish", "report", f"s3://{store.bucket}/r", "--json").stdout)
    assert (found["uri"], found["expires"], found["files"]) == (uri, 168, 1)


def test_wrong_use_and_a_lost_server_are_one_line(call, store, tmp_path):
    (tmp_path / "index.html").write_text("x")
    for words, variables, code, said in [
        (("publish", "index.html", "bucket/r"), {}, 2, "the target must be s3://bucket/prefix"),
        (("publish", "reports", f"s3://{store.bucket}"), {}, 2, "nothing to publish at reports"),
        (("publish", "models:/birds@champion", f"s3://{store.bucket}"), {}, 1, "no model registry at"),
        (("publish", "index.html", f"s3://{store.bucket}x"), {}, 2, f"did you mean '{store.bucket}'?"),
        (
            ("publish", "index.html", f"s3://{store.bucket}"),
            {"AWS_SECRET_ACCESS_KEY": "other"},
            1,
            f"the secret key does not fit the access key at {store.client.endpoint}; set AWS_SECRET_ACCESS_KEY",
        ),
        (
            ("publish", "index.html", f"s3://{store.bucket}"),
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            1,
            "S3 does not answer at http://127.0.0.1:9; start the server, or correct AWS_ENDPOINT_URL",
        ),
    ]:
        done = call(*words, **variables)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert done.stderr.strip().count("\n") == 0
