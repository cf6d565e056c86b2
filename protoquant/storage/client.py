"""The connection to S3; boto3's own chain alone decides endpoint, region and credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from protoquant.core.errors import StorageError, UsageError, one_line

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_ATTEMPTS = 4


@dataclass(frozen=True)
class Client:
    """An S3 client and the server it talks to.

    Attributes:
        api: The boto3 client; usable from many threads.
        endpoint: URL that requests go to.
        region: Region that requests are signed for.
        streams: Number of requests that may run at once.
    """

    api: Any
    endpoint: str
    region: str
    streams: int


def connect(workers: int = 1) -> Client:
    """Open a client, without any request yet.

    Args:
        workers: Threads of the machine; a request mostly waits, so four of them share a thread.

    Raises:
        UsageError: Boto3's settings name an unknown profile or an endpoint that is not a URL.
        StorageError: Boto3 refuses its settings for another reason.
    """
    streams = max(8, 4 * workers)
    try:
        settings = botocore.session.get_session()
        config = Config(
            signature_version="s3v4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=streams,
            retries=_retries(settings),
        )
        api = boto3.Session(botocore_session=settings).client("s3", config=config)
    except ValueError as error:
        raise UsageError(f"AWS_ENDPOINT_URL must be a URL such as http://host:port ({error}); correct it") from error
    except BotoCoreError as error:
        raise StorageError(
            f"S3 settings: {one_line(error).rstrip('.')}; correct the AWS_ variables, or ~/.aws/config"
        ) from error
    return Client(api, str(api.meta.endpoint_url), str(api.meta.region_name), streams)


def _retries(settings: Any) -> Any:
    """The retries set in boto3's chain (AWS_MAX_ATTEMPTS, AWS_RETRY_MODE), or else a few attempts with short pauses."""
    if settings.get_config_variable("max_attempts") is not None:
        return None
    return {"mode": "standard", "total_max_attempts": _ATTEMPTS}
