import json
import urllib.error
import urllib.request
from itertools import pairwise

import pytest

from protoquant.core.errors import UsageError
from protoquant.core.events import ignore
from protoquant.storage.publish import content_type, publish

pytestmark = pytest.mark.server


def read(url):
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (loopback)
        return answer.read(), answer.headers


@pytest.fixture
def report(tmp_path):
    folder = tmp_path / "report"
    (folder / "pictures").mkdir(parents=True)
    (folder / "index.html").write_text("<p>ü</p>", encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps({}))
    (folder / "pictures" / "1.webp").write_bytes(b"RIFF")
    return folder


def test_a_folder_is_published_and_its_link_needs_no_keys(store, report):
    done = publish(store.client, report, store.location("runs/1"), expires=24, on_event=ignore)
    assert done.uri == f"s3://{store.bucket}/runs/1/index.html"
    assert (done.files, done.size) == (3, len("<p>ü</p>".encode()) + 2 + 4)
    body, headers = read(done.link)
    assert body.decode() == "<p>ü</p>"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in done.link
    assert f"X-Amz-Expires={24 * 3600}" in done.link
    with pytest.raises(urllib.error.HTTPError, match="403"):
        read(done.link.partition("?")[0])
    with pytest.raises(urllib.error.HTTPError, match="403"):
        read(done.link.replace("index.html", "manifest.json"))
    head = store.client.api.head_object(Bucket=store.bucket, Key="runs/1/pictures/1.webp")
    assert head["ContentType"] == "image/webp"


def test_the_page_comes_last(store, report):
    publish(store.client, report, store.location("runs/1"), expires=1, on_event=ignore)
    names = ["runs/1/manifest.json", "runs/1/pictures/1.webp", "runs/1/index.html"]
    times = [store.client.api.head_object(Bucket=store.bucket, Key=name)["LastModified"] for name in names]
    assert all(earlier <= times[-1] for earlier, _ in pairwise(times))


def test_a_file_is_published_as_it_is_called(store, report):
    done = publish(store.client, report / "pictures" / "1.webp", store.location("p"), expires=168, on_event=ignore)
    assert done.uri == f"s3://{store.bucket}/p/1.webp"
    assert read(done.link)[0] == b"RIFF"


def test_a_large_file_goes_in_parts(store, tmp_path):
    big = tmp_path / "big.safetensors"
    big.write_bytes(bytes(20 * 2**20))
    publish(store.client, big, store.location(), expires=1, on_event=ignore)
    assert store.client.api.head_object(Bucket=store.bucket, Key=big.name)["ETag"].endswith('-3"')


def test_what_cannot_be_published_is_said(store, report, tmp_path):
    (report / "index.html").unlink()
    where = store.location("p")
    with pytest.raises(UsageError, match=r"holds no index.html; name the folder of a report"):
        publish(store.client, report, where, expires=1, on_event=ignore)
    with pytest.raises(UsageError, match=r"nothing to publish at .*nowhere: there is no such file or folder"):
        publish(store.client, tmp_path / "nowhere", where, expires=1, on_event=ignore)
    for hours in (0, 169):
        with pytest.raises(UsageError, match=f"a link lives 1 to 168 hours, got {hours}"):
            publish(store.client, report, where, expires=hours, on_event=ignore)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.HTML", "text/html; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.parquet", "application/vnd.apache.parquet"),
        ("a.safetensors", "application/octet-stream"),
        ("noending", "application/octet-stream"),
    ],
)
def test_content_types(name, kind):
    assert content_type(name) == kind
