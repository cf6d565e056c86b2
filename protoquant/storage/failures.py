"""Turns every failure of S3 into one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3.exceptions as transfer
import botocore.exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from protoquant.core.errors import ProtoQuantError, StorageError, UsageError, one_line, suggest
from protoquant.storage.client import Client

UNREACHABLE = (boto.HTTPClientError, boto.ConnectionError)
_NO_KEYS = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.TokenRetrievalError, boto.SSOError)
_UNKNOWN_KEY = "the access key is unknown at {place}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_OLD_KEY = "the credentials for {place} have expired; renew them (aws sso login, or a new session token)"
_SENTENCES = {
    "SignatureDoesNotMatch": "the secret key does not fit the access key at {place}; set AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "InvalidToken": _UNKNOWN_KEY,
    "ExpiredToken": _OLD_KEY,
    "TokenRefreshRequired": _OLD_KEY,
    "RequestTimeTooSkewed": "the clock of this machine is not that of {place}; set it",
}
_UNSUPPORTED = {"NotImplemented", "XNotImplemented", "MethodNotAllowed", "UnsupportedOperation"}
_REDIRECTS = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307")
_ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
}


@contextmanager
def translated(client: Client, bucket: str, what: str) -> Iterator[None]:
    """Turn boto3's errors inside the block into ours.

    Args:
        client: The client in use.
        bucket: The bucket in use.
        what: Name of the data read or written, such as a URI.

    Raises:
        UsageError: There is no such bucket.
        StorageError: S3 refused, or does not answer.
    """
    try:
        yield
    except ClientError as error:
        raise _refusal(client, bucket, what, error) from error
    except (BotoCoreError, transfer.Boto3Error, ResponseParserError) as error:
        # boto3's transfers wrap the error of S3
        if isinstance(error.__context__, ClientError):
            raise _refusal(client, bucket, what, error.__context__) from error
        raise _failure(client, what, error) from error


def no_store(client: Client) -> StorageError:
    """The error for an answer that does not come from an S3 server."""
    return StorageError(f"what answers at {client.endpoint} is no S3 server; correct AWS_ENDPOINT_URL")


def code_of(error: ClientError) -> str:
    """The short name of a refusal, such as ``NoSuchKey``; the HTTP status if S3 sent no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status of a refusal."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_unsupported(error: ClientError) -> bool:
    """Whether the server says that it does not support the operation."""
    return code_of(error) in _UNSUPPORTED or status_of(error) in {405, 501}


def _refusal(client: Client, bucket: str, what: str, error: ClientError) -> ProtoQuantError:
    code, place = code_of(error), client.endpoint
    if code in _REDIRECTS:
        return StorageError(_other_region(client, bucket, error))
    if code == "NoSuchBucket":
        return UsageError(_no_bucket(client, bucket))
    if code in _SENTENCES:
        return StorageError(f"{what}: {_SENTENCES[code].format(place=place)}")
    if status_of(error) == 403:
        action = _ACTIONS.get(error.operation_name, f"s3:{error.operation_name}")
        to_do = f"ask the owner of the bucket for the permission {action}"
        if code.isdecimal():  # an answer to HEAD gives no reason
            to_do = f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are wrong, or {to_do}"
        return StorageError(f"{what}: access denied at {place}; {to_do}")
    if code.isdecimal() and not error.operation_name.startswith("Head"):  # except to HEAD, S3 answers with a named code
        return StorageError(f"{what}: {place} answered HTTP {code}, as no S3 server does; correct AWS_ENDPOINT_URL")
    said = _flat(error.response.get("Error", {}).get("Message") or error)
    return StorageError(f"{what}: S3 at {place} refused {error.operation_name}: {code} {said}; see the server's log")


def _other_region(client: Client, bucket: str, error: ClientError) -> str:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = error.response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    to_do = f"set AWS_DEFAULT_REGION={region}" if region else "set AWS_DEFAULT_REGION to the bucket's"
    where = f"in the region {region}" if region else "in another region"
    return f"the bucket {bucket!r} is {where}, it was asked for in {client.region}; {to_do}"


def _no_bucket(client: Client, bucket: str) -> str:
    try:
        names = [str(one["Name"]) for one in client.api.list_buckets()["Buckets"]]
    except (ClientError, BotoCoreError):
        names = []
    near = suggest(bucket, names)
    return f"no bucket {bucket!r} at {client.endpoint}{near}; correct the name, or: protoquant storage init {bucket}"


def _failure(client: Client, what: str, error: Exception) -> StorageError:
    """The error for a failure before or instead of an answer from S3."""
    if isinstance(error, _NO_KEYS):
        return StorageError(
            f"{what}: no credentials for {client.endpoint} ({_flat(error)}); "
            f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, boto.SSLError):
        return StorageError(f"{client.endpoint}: {_flat(error)}; set AWS_CA_BUNDLE, or correct AWS_ENDPOINT_URL")
    if isinstance(error, UNREACHABLE):
        return StorageError(f"S3 does not answer at {client.endpoint}; start the server, or correct AWS_ENDPOINT_URL")
    if isinstance(error, ResponseParserError):
        return no_store(client)
    return StorageError(f"{what}: {_flat(error)}")


def _flat(error: object) -> str:
    return one_line(error).rstrip(".")
