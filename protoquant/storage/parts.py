"""Sends a large file in parallel parts; the object appears when the last part has arrived."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from protoquant.storage.client import Client
from protoquant.storage.fetch import LARGE

_MOST = 10_000  # most parts that S3 allows
_CHECKSUM = "CRC32"


def put_in_parts(
    client: Client, file: Path, target: Mapping[str, str], metadata: Mapping[str, str], condition: Mapping[str, str]
) -> None:
    """Send a file; after an error or a kill there is no object, and after an error no parts are left either.

    Boto3's own transfers do not support a condition.

    Args:
        client: An open client.
        file: Larger than one part.
        target: ``Bucket`` and ``Key``.
        metadata: Metadata of the object.
        condition: Condition for creating the object, such as ``{"IfNoneMatch": "*"}``; empty for none.

    Raises:
        ClientError: S3 refused. BotoCoreError: S3 does not answer.
    """
    size = file.stat().st_size
    part_size = max(LARGE, -(-size // _MOST))
    # as in boto3's transfers; servers that do not support checksums ignore them
    wanted = client.api.meta.config.request_checksum_calculation != "when_required"
    checked = {"ChecksumAlgorithm": _CHECKSUM} if wanted else {}
    upload = client.api.create_multipart_upload(**target, Metadata=metadata, **checked)["UploadId"]

    def send(number: int) -> dict[str, Any]:
        with file.open("rb") as opened:
            opened.seek((number - 1) * part_size)
            body = opened.read(part_size)
        answer = client.api.upload_part(**target, UploadId=upload, PartNumber=number, Body=body, **checked)
        sums = {name: answer[name] for name in (f"Checksum{_CHECKSUM}",) if checked and name in answer}
        return {"PartNumber": number, "ETag": answer["ETag"], **sums}

    pool = ThreadPoolExecutor(client.streams)
    try:
        parts = {"Parts": list(pool.map(send, range(1, -(-size // part_size) + 1)))}
        client.api.complete_multipart_upload(**target, UploadId=upload, MultipartUpload=parts, **condition)
    except BaseException:
        pool.shutdown(cancel_futures=True)
        with suppress(ClientError, BotoCoreError):
            client.api.abort_multipart_upload(**target, UploadId=upload)
        raise
    finally:
        pool.shutdown()
