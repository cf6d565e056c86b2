"""Each way in which S3 can refuse is one line that says what to do."""

import pytest

from protoquant.core.errors import StorageError, UsageError
from protoquant.storage.client import connect
from protoquant.storage.listing import list_objects
from protoquant.storage.location import Location
from protoquant.storage.publish import publish
from tests.servers import READER, free_ports

pytestmark = pytest.mark.server

ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message>{more}</Error>"


def said(kind, bucket="data"):
    with pytest.raises(kind) as caught:
        list_objects(connect(), Location(bucket, "birds"))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_no_credentials(store, alone):
    alone.delenv("AWS_ACCESS_KEY_ID")
    alone.delenv("AWS_SECRET_ACCESS_KEY")
    text = said(StorageError)
    assert f"no credentials for {store.client.endpoint}" in text
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in text
    alone.setenv("AWS_ACCESS_KEY_ID", "admin")
    assert "missing: AWS_SECRET_ACCESS_KEY; correct the AWS_ variables" in said(StorageError)


def test_a_wrong_secret_and_an_unknown_key(store, alone):
    alone.setenv("AWS_SECRET_ACCESS_KEY", "other")
    with pytest.raises(StorageError) as caught:
        list_objects(connect(), Location(store.bucket))
    text = str(caught.value)
    assert caught.value.__cause__.response["ResponseMetadata"]["RetryAttempts"] == 0
    assert store.client.endpoint in text
    assert "the secret key does not fit the access key" in text
    assert "set AWS_SECRET_ACCESS_KEY" in text
    assert "other" not in text
    alone.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert "the access key is unknown" in said(StorageError, store.bucket)


def test_a_missing_permission_is_named(store, alone, tmp_path):
    for name, value in READER.items():
        alone.setenv(name, value)
    page = tmp_path / "page.html"
    page.write_text("x")
    with pytest.raises(
        StorageError, match=r"access denied at http://.*; ask the owner of the bucket for .* s3:PutObject"
    ):
        publish(connect(), page, store.location("p"), expires=1, on_event=lambda _: None)


def test_no_such_bucket_names_the_nearest(store):
    text = said(UsageError, store.bucket[:-1] + "zz")
    assert f"did you mean '{store.bucket}'?" in text
    assert "protoquant storage init" in text
    assert "did you mean" not in said(UsageError, "quite-another-name")


def test_an_endpoint_that_does_not_answer(alone):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    for name, value in {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        alone.setenv(name, value)
    assert said(StorageError) == f"S3 does not answer at {url}; start the server, or correct AWS_ENDPOINT_URL"


def test_settings_that_cannot_be(alone):
    alone.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    assert "AWS_ENDPOINT_URL must be a URL such as http://host:port" in said(UsageError)
    alone.delenv("AWS_ENDPOINT_URL")
    alone.setenv("AWS_PROFILE", "nobody")
    assert "profile (nobody) could not be found; correct the AWS_ variables" in said(StorageError)


def test_a_bucket_of_another_region(pretend):
    for answer in (
        (301, {"x-amz-bucket-region": "eu-west-1"}, ERROR.format(code="PermanentRedirect", more="")),
        (400, {}, ERROR.format(code="AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>")),
    ):
        pretend(lambda method, path, answer=answer: answer)
        assert said(StorageError) == (
            "the bucket 'data' is in the region eu-west-1, it was asked for in us-east-1; "
            "set AWS_DEFAULT_REGION=eu-west-1"
        )


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, {}, "<html>hello</html>"), "is no S3 server; correct AWS_ENDPOINT_URL"),
        ((404, {}, "<!DOCTYPE html><p>hello"), "answered HTTP 404, as no S3 server does; correct AWS_ENDPOINT_URL"),
        ((400, {}, ERROR.format(code="ExpiredToken", more="")), "have expired; renew them"),
        ((403, {}, ERROR.format(code="RequestTimeTooSkewed", more="")), "the clock of this machine is not that of"),
        ((403, {}, ERROR.format(code="AccessDenied", more="")), "for the permission s3:ListBucket"),
        ((400, {}, ERROR.format(code="Strange", more="")), "refused ListObjectsV2: Strange no"),
    ],
)
def test_what_a_server_may_say(pretend, answer, text):
    url = pretend(lambda method, path: answer)
    assert text in (found := said(StorageError))
    assert url in found


def test_a_server_that_is_away_for_a_moment_is_asked_again(pretend):
    seen = []

    def answer(method, path):
        seen.append(path)
        return (503, {}, "") if len(seen) == 1 else (404, {}, ERROR.format(code="NoSuchBucket", more=""))

    pretend(answer)
    assert "no bucket 'data'" in said(UsageError)
    assert len(seen) > 1
