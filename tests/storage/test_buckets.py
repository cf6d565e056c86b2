from uuid import uuid4

import pytest

from protoquant.core.errors import StorageError, UsageError
from protoquant.storage.buckets import init_bucket
from protoquant.storage.client import connect
from tests.servers import READER

pytestmark = pytest.mark.server

ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>no</Message></Error>"
RULE = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}


def outcomes(client, bucket, abort_days=7, old_days=90):
    return [step.outcome for step in init_bucket(client, bucket, abort_days=abort_days, old_days=old_days)]


def test_a_bucket_is_made_once_with_all_that_it_needs(store):
    api, bucket = store.client.api, f"new-{uuid4().hex[:8]}"
    assert outcomes(store.client, bucket) == ["done"] * 4
    assert outcomes(store.client, bucket) == ["already"] * 4
    assert api.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (rule,) = api.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (rule,) = api.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    for body in (b"1", b"2"):
        api.put_object(Bucket=bucket, Key="x", Body=body)
    assert len(api.list_object_versions(Bucket=bucket)["Versions"]) == 2


def test_rules_of_others_stay_and_ours_follows_the_days(store):
    api, bucket = store.client.api, store.bucket
    api.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [RULE]})
    assert outcomes(store.client, bucket) == ["already", "done", "done", "done"]
    assert outcomes(store.client, bucket, old_days=30) == ["already", "already", "already", "done"]
    rules = {rule["ID"]: rule for rule in api.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    assert set(rules) == {"theirs", "protoquant"}
    assert rules["theirs"]["Expiration"]["Days"] == 3
    assert rules["protoquant"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30


def test_what_a_server_does_not_know_is_said_and_is_no_error(pretend):
    def answer(method, path):
        if "versioning" in path:
            return 501, {}, ERROR.format("NotImplemented")
        if "encryption" in path:
            return 405, {}, ERROR.format("MethodNotAllowed")
        if "lifecycle" in path:
            return 501, {}, ""
        known = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        return 200, {}, known

    pretend(answer)
    assert outcomes(connect(), "data") == ["already"] + ["not supported by this server"] * 3


def test_a_name_that_is_taken_and_a_missing_permission(pretend, store, alone):
    for name, value in (store.variables | READER).items():
        alone.setenv(name, value)
    with pytest.raises(
        StorageError,
        match=r"access denied at http://.*; ask the owner of the bucket for the permission s3:CreateBucket",
    ):
        outcomes(connect(), f"new-{uuid4().hex[:8]}")
    codes = {"GET": (404, "NoSuchBucket"), "PUT": (409, "BucketAlreadyExists")}
    pretend(lambda method, path: (codes[method][0], {}, ERROR.format(codes[method][1])))
    with pytest.raises(UsageError, match=r"the bucket name 'data' is taken at .*; choose another"):
        outcomes(connect(), "data")


def test_a_bucket_is_asked_for_in_the_region_of_the_client(pretend, alone):
    codes = {"GET": (404, "NoSuchBucket"), "PUT": (409, "BucketAlreadyExists")}
    pretend(lambda method, path: (codes[method][0], {}, ERROR.format(codes[method][1])))
    alone.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    client = connect()
    asked = []
    client.api.meta.events.register("before-call.s3.CreateBucket", lambda params, **_: asked.append(params["body"]))
    with pytest.raises(UsageError):
        outcomes(client, "data")
    assert b"<LocationConstraint>eu-west-1</LocationConstraint>" in asked[0]
