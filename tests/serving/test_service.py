import base64
import io
import json
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from protoquant.model.bundle import Bundle
from protoquant.serving.config import ServeConfig
from protoquant.serving.service import create_app
from protoquant.serving.versions import Versions
from tests.builders.pictures import encoded, pixel_bomb, png, text_bomb

LIMITS = ServeConfig(max_images=4, max_image_bytes=200_000, max_request_bytes=2_000_000, max_pixels=1_000_000)
RAW = {"Content-Type": "application/octet-stream"}
GOOD = encoded(1)


@pytest.fixture
def client(versions):
    with TestClient(create_app(versions, LIMITS, workers=2), raise_server_exceptions=False) as made:
        yield made


def in_json(*files: bytes, **others) -> dict:
    return {"images": [base64.b64encode(data).decode() for data in files], **others}


def counted(client) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}


def same(one: dict, other: dict) -> bool:
    """Equal answers, but for the last digit of a number."""
    numbers = ("score", "weight", "contribution")
    return (
        all(one[key] == other[key] for key in ("label", "class_name", "abstains"))
        and one["logit"] == pytest.approx(other["logit"], abs=1e-5)
        and one["probability"] == pytest.approx(other["probability"], abs=1e-5)
        and len(one["contributions"]) == len(other["contributions"])
        and all(
            a[key] == pytest.approx(b[key], abs=1e-5) if key in numbers else a[key] == b[key]
            for a, b in zip(one["contributions"], other["contributions"], strict=True)
            for key in a
        )
    )


def test_every_way_of_asking_gives_the_models_own_answer(client, models) -> None:
    expected = json.loads(json.dumps(models[0].model.answer([GOOD])[0].to_dict()))
    asked = [
        client.post("/predict", files={"image": ("a.png", GOOD)}),
        client.post("/predict", json=in_json(GOOD)),
        client.post("/predict", json={"images": ["data:image/png;base64," + base64.b64encode(GOOD).decode()]}),
        client.post("/predict", json={"images": [base64.encodebytes(GOOD).decode()]}),
        client.post("/predict", content=GOOD, headers=RAW),
    ]
    for reply in asked:
        assert reply.status_code == 200
        assert reply.json()["model"] == {"name": "birds", "version": "1", "bundle": "a" * 64}
        (answer,) = reply.json()["answers"]
        assert same(answer, expected)


def test_mlflows_model_and_the_service_give_the_same_numbers(client, bundles, weights) -> None:
    from protoquant.tracking.registry.pyfunc import ProtoQuantModel

    model = ProtoQuantModel()
    model.load_context(SimpleNamespace(artifacts={"bundle": str(bundles[0]), "weights": str(weights)}))
    large = encoded(3, 1100, 900, "JPEG")
    for data in (GOOD, large):
        rows = model.predict(pd.DataFrame({"image": [base64.b64encode(data).decode()]})).to_dict("records")
        (answer,) = client.post("/predict", content=data, headers=RAW).json()["answers"]
        assert answer["class_name"] == rows[0]["class_name"]
        assert answer["probability"] == pytest.approx(rows[0]["probability"], abs=1e-5)


def test_a_batch_answers_in_order_and_a_bad_image_is_an_entry(client, models) -> None:
    reply = client.post("/predict", json=in_json(GOOD, b"not an image", encoded(2), top=1))
    first, bad, second = reply.json()["answers"]
    assert reply.status_code == 200
    assert bad == {"error": bad["error"], "kind": "not_an_image"}
    assert bad["error"].startswith("file 1 is not an image")
    assert "\n" not in bad["error"]
    own = models[0].model.answer([GOOD, encoded(2)], top=1)
    assert [one["logit"] for one in (first, second)] == pytest.approx([one.logit for one in own], abs=1e-5)
    assert [len(one["contributions"]) for one in (first, second)] == [1, 1]
    files = [("image", ("x.png", GOOD)), ("image", ("y.jpg", b"text"))]
    assert [min(one) for one in client.post("/predict", files=files).json()["answers"]] == ["abstains", "error"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "zero_bytes"),
        (b"a text file that is named .jpg", "not_an_image"),
        (GOOD[:200], "truncated"),
        (png(20_000, 10_000), "too_large"),
        (png(1_001, 1_000), "too_large"),
        (text_bomb(), "undecodable"),
        (GOOD + bytes(200_000), "too_large"),
    ],
)
def test_one_bad_image_is_refused_in_one_line(client, data, kind) -> None:
    for path in ("/predict", "/explain"):
        reply = client.post(path, files={"image": ("../../photo.jpg", data, "image/jpeg")})
        assert (reply.status_code, reply.json()["kind"]) == (422, kind)
        assert "\n" not in reply.json()["error"]
        assert reply.json()["request"] == reply.headers["x-request-id"]
        assert "photo" not in reply.text
    assert client.get("/health").status_code == 200


def test_data_beyond_the_pixels_are_not_unpacked(client) -> None:
    assert client.post("/predict", content=pixel_bomb(), headers=RAW).status_code in (200, 422)


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({"json": in_json(*[GOOD] * 5)}, 422, "1 to 4 images, got 5"),
        ({"json": in_json()}, 422, "1 to 4 images, got 0"),
        ({"json": in_json(*[b""] * 500)}, 422, "at most 4 images"),
        ({"json": {"images": ["/etc/passwd"]}}, 422, "paths and addresses are not opened"),
        ({"json": {"images": ["http://localhost/x.png"]}}, 422, "image 0 must be base64"),
        ({"json": {"images": [7]}}, 422, "image 0 must be base64 text, got int"),
        ({"json": {"images": "x"}}, 422, "expected"),
        ({"json": {"images": [], "url": "x"}}, 422, "expected"),
        ({"json": in_json(GOOD, top=-1)}, 422, "top must be an integer"),
        ({"json": in_json(GOOD, top=True)}, 422, "top must be an integer"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422, "not JSON"),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "text/plain"),
        ({"files": {"photo": ("a", GOOD)}}, 422, "form field 'image'"),
        ({"files": [("image", ("a", GOOD))] * 5}, 422, "at most 4 files"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 422, "form cannot be read"),
        ({"content": GOOD, "headers": RAW, "params": {"top": "many"}}, 422, "top must be"),
        ({"content": bytes(2_000_001), "headers": RAW}, 413, "2,000,000 bytes"),
    ],
)
def test_a_wrong_request_says_what_is_right(client, asked, status, text) -> None:
    reply = client.post("/predict", **asked)
    assert reply.status_code == status
    assert text in reply.json()["error"]


@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (None, "zero_bytes"),
        ("text/plain", "zero_bytes"),
        ("image/png", "zero_bytes"),
        ("application/octet-stream", "zero_bytes"),
        ("application/x-www-form-urlencoded", "zero_bytes"),
        ("application/json", "bad_request"),
        ("multipart/form-data", "bad_request"),
        ("multipart/form-data; boundary=x", "bad_request"),
    ],
)
def test_an_empty_body_is_422_whatever_its_type(client, path, kind, word) -> None:
    headers = {"Content-Type": kind} if kind else {}
    for accept in ("application/json", "image/png"):
        reply = client.post(path, content=b"", headers={**headers, "Accept": accept})
        assert (reply.status_code, reply.json()["kind"]) == (422, word)


def test_paths_and_methods_that_are_not_there(client) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/predict").json()["kind"] == "no_such_path"
    assert client.get("/predict").status_code == 405


def test_explain_gives_all_evidence_and_that_of_another_class(client, models) -> None:
    expected = models[0].model.explain(GOOD)
    found = client.post("/explain", content=GOOD, headers=RAW).json()
    assert "class" not in found
    parts = found["answer"]["contributions"]
    assert [part["prototype"] for part in parts] == [part.code for part in expected.contributions]
    assert sum(part["contribution"] for part in parts) == pytest.approx(found["answer"]["logit"], abs=1e-5)
    other = client.post("/explain", content=GOOD, headers=RAW, params={"class": "crane"}).json()["class"]
    assert (other["label"], other["class_name"]) == (2, "crane")
    assert {part["prototype"] for part in other["contributions"]} == {0, 4}
    assert sum(part["contribution"] for part in other["contributions"]) == pytest.approx(other["logit"], abs=1e-5)
    assert set(other["contributions"][0]) == set(parts[0])


def test_explain_draws_where_a_picture_is_wanted(client) -> None:
    reply = client.post(
        "/explain", files={"image": ("a", encoded(3, 1100, 900, "JPEG"))}, headers={"Accept": "image/png"}
    )
    assert reply.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(reply.content)).format == "PNG"


def test_explain_refuses_two_images_and_unknown_classes(client) -> None:
    assert "takes one image, got 2" in client.post("/explain", json=in_json(GOOD, GOOD)).json()["error"]
    reply = client.post("/explain", content=GOOD, headers=RAW, params={"class": "cranes"})
    assert (reply.status_code, reply.json()["kind"]) == (422, "no_such_class")
    assert "did you mean 'crane'?" in reply.json()["error"]


def test_too_little_evidence_is_an_abstention(client, monkeypatch) -> None:
    monkeypatch.setattr(Bundle, "abstain_below", property(lambda _: 1e9))
    assert client.post("/predict", content=GOOD, headers=RAW).json()["answers"][0]["abstains"] is True
    assert counted(client)["protoquant_abstentions_total",] == 1


def test_without_a_model_it_is_not_healthy(shelf) -> None:
    versions = Versions(shelf, every=3600.0)
    with TestClient(create_app(versions, LIMITS)) as client:
        assert client.get("/health").status_code == 503
        assert client.post("/predict", content=GOOD, headers=RAW).json()["kind"] == "loading"
        assert client.get("/metrics").status_code == 200
        versions.load()
        assert client.get("/health").json()["model"]["version"] == "1"


def test_metrics_count_what_was_done(client, shelf, versions) -> None:
    client.post("/predict", json=in_json(GOOD, b"no"))
    client.post("/predict", content=b"no", headers=RAW)
    client.get("/nothing/of/that/name")
    found = counted(client)
    assert found["protoquant_requests_total", "/predict", "200"] == 1
    assert found["protoquant_requests_total", "/predict", "422"] == 1
    assert found["protoquant_requests_total", "404", "other"] == 1
    assert found["protoquant_errors_total", "not_an_image"] == 2
    assert found["protoquant_images_total",] == 3
    assert found["protoquant_batch_images_sum",] == 1
    assert found["protoquant_request_seconds_count", "/predict"] == 2
    assert found["protoquant_queue_images",] == found["protoquant_requests_in_flight",] == 0
    assert found["protoquant_model_info", "1", "a" * 64, "birds"] == 1
    shelf.at = "two"
    assert versions.look()
    found = counted(client)
    assert found["protoquant_model_info", "2", "b" * 64, "birds"] == 1
    assert ("protoquant_model_info", "1", "a" * 64, "birds") not in found
    assert found["protoquant_reloads_total", "done"] == 1


def test_an_unexpected_error_is_logged_with_its_trace_and_shows_none(client, models, monkeypatch, caplog) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret of the house")

    monkeypatch.setattr(models[0].model, "answer_pixels", fail)
    reply = client.post("/predict", content=GOOD, headers={**RAW, "X-Request-ID": "mine-1"})
    assert (reply.status_code, reply.json()["kind"], reply.json()["request"]) == (500, "internal", "mine-1")
    assert "secret" not in reply.text
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.request == "mine-1"
    monkeypatch.undo()
    assert client.post("/predict", content=GOOD, headers=RAW).status_code == 200


def test_the_schema_of_the_service_names_its_bodies(client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/predict", "/explain", "/health", "/metrics"}
    assert "multipart/form-data" in paths["/predict"]["post"]["requestBody"]["content"]
