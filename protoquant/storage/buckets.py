"""Sets up buckets for a team: old versions are kept for a while, objects encrypted, unfinished uploads removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from protoquant.core.errors import UsageError
from protoquant.storage.client import Client
from protoquant.storage.failures import code_of, is_unsupported, translated

Outcome = Literal["done", "already", "not supported by this server"]

RULE = "protoquant"
_ABSENT = {"ServerSideEncryptionConfigurationNotFoundError", "NoSuchLifecycleConfiguration"}
_AWS_DEFAULT = "us-east-1"  # the one region that a request for a new bucket must not name


@dataclass(frozen=True)
class BucketStep:
    """One property of a bucket, and the outcome of setting it."""

    name: str
    outcome: Outcome


def init_bucket(client: Client, bucket: str, *, abort_days: int, old_days: int) -> list[BucketStep]:
    """Create a bucket and set the properties that it lacks; a second call changes nothing.

    Args:
        client: An open client.
        bucket: Name of the bucket.
        abort_days: Days after which an upload that was not finished is removed.
        old_days: Days for which a replaced or removed version is kept.

    Returns:
        The steps in their order: bucket, versioning, encryption, lifecycle.

    Raises:
        UsageError: The name is taken by someone else.
        StorageError: S3 refused or does not answer.
    """
    asked = {"Bucket": bucket}
    steps: dict[str, Callable[[], bool]] = {
        "bucket": lambda: _create(client, bucket),
        "versioning": lambda: _version(client.api, asked),
        "encryption (AES256)": lambda: _encrypt(client.api, asked),
        f"lifecycle (unfinished uploads {abort_days} days, old versions {old_days} days)": lambda: _expire(
            client.api, asked, _rule(abort_days, old_days)
        ),
    }
    with translated(client, bucket, f"s3://{bucket}"):
        return [BucketStep(name, _outcome(step)) for name, step in steps.items()]


def _outcome(step: Callable[[], bool]) -> Outcome:
    try:
        return "done" if step() else "already"
    except ClientError as error:
        if is_unsupported(error):
            return "not supported by this server"
        raise


def _create(client: Client, bucket: str) -> bool:
    try:
        client.api.list_objects_v2(Bucket=bucket, MaxKeys=1)  # HeadBucket does not say why it is refused
    except ClientError as error:
        if code_of(error) != "NoSuchBucket":
            raise
    else:
        return False  # us-east-1 would answer as if it had created the bucket again
    elsewhere = client.region not in {_AWS_DEFAULT, "aws-global"}
    where = {"CreateBucketConfiguration": {"LocationConstraint": client.region}} if elsewhere else {}
    try:
        client.api.create_bucket(Bucket=bucket, **where)
    except ClientError as error:
        if code_of(error) == "BucketAlreadyOwnedByYou":
            return False
        if code_of(error) == "BucketAlreadyExists":
            raise UsageError(f"the bucket name {bucket!r} is taken at {client.endpoint}; choose another") from error
        raise
    return True


def _version(api: Any, asked: dict[str, str]) -> bool:
    if api.get_bucket_versioning(**asked).get("Status") == "Enabled":
        return False
    api.put_bucket_versioning(**asked, VersioningConfiguration={"Status": "Enabled"})
    return True


def _encrypt(api: Any, asked: dict[str, str]) -> bool:
    """Encrypt a bucket, unless it has any encryption already: that may be stronger."""
    if _asked(api.get_bucket_encryption, asked).get("ServerSideEncryptionConfiguration", {}).get("Rules"):
        return False
    rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    api.put_bucket_encryption(**asked, ServerSideEncryptionConfiguration={"Rules": rules})
    return True


def _expire(api: Any, asked: dict[str, str], rule: dict[str, Any]) -> bool:
    """Add our rule to those of others; S3 can only replace the whole list."""
    rules = _asked(api.get_bucket_lifecycle_configuration, asked).get("Rules", [])
    if any(_within(rule, other) for other in rules):
        return False
    others = [other for other in rules if other.get("ID") != RULE]
    api.put_bucket_lifecycle_configuration(**asked, LifecycleConfiguration={"Rules": [*others, rule]})
    return True


def _rule(abort_days: int, old_days: int) -> dict[str, Any]:
    return {
        "ID": RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": abort_days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": old_days},
    }


def _within(rule: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a server's rule contains ours; servers add keys and leave out an empty filter."""
    return all(other.get(key) == value for key, value in rule.items() if key != "Filter")


def _asked(call: Callable[..., dict[str, Any]], asked: dict[str, str]) -> dict[str, Any]:
    try:
        return call(**asked)
    except ClientError as error:
        if code_of(error) in _ABSENT:
            return {}
        raise
