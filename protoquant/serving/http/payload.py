"""Read the images of a request: multipart files, base64 in JSON, or one image as the body; never a path or a URL."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from protoquant.serving.config import ServeConfig
from protoquant.serving.http.refusal import RefusedError

FIELD = "image"
_EXTRA_MARKS = 16
_SHAPE = '{"images": [base64, ...], "top": 5}'


@dataclass(frozen=True)
class Asked:
    """The content of a request.

    Attributes:
        images: Whole image files.
        top: Maximum number of contributions in an answer.
    """

    images: tuple[bytes, ...]
    top: int


class _InMemory(MultiPartParser):
    """Keeps files in memory, since admission has bounded the body."""

    spool_max_size = 2**62


async def asked(request: Request, config: ServeConfig) -> Asked:
    """Read the images of a request.

    Args:
        request: A request whose body has been admitted.
        config: Limit ``max_images``, and the default of ``top``.

    Raises:
        RefusedError: 415 for another kind of body, 422 for a body that is empty, malformed or over a limit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    top = _top(request.query_params.get("top"), config)
    if kind == "multipart/form-data":
        images = await _files(request, config)
    elif kind == "application/json":
        return _json(await request.body(), top, config)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        images = (await request.body(),)
    else:
        if not await request.body():
            raise RefusedError(422, "zero_bytes", "expected an image in the body, which is empty")
        text = f"expected multipart/form-data, application/json or image/*, got {kind[:60]!r} as Content-Type"
        raise RefusedError(415, "content_type", text)
    return Asked(images, top)


async def _files(request: Request, config: ServeConfig) -> tuple[bytes, ...]:
    parser = _InMemory(
        request.headers, request.stream(), max_files=config.max_images, max_fields=_EXTRA_MARKS, max_part_size=1024
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        text = f"the form cannot be read: {error.message[:120]}; at most {config.max_images} files"
        raise RefusedError(422, "bad_request", text) from None
    files = [value for key, value in form.multi_items() if key == FIELD and not isinstance(value, str)]
    if not files:
        raise RefusedError(422, "bad_request", f"expected one or more files in the form field {FIELD!r}, got none")
    return tuple([await file.read() for file in files])


def _json(body: bytes, top: int, config: ServeConfig) -> Asked:
    # Base64 contains none of these marks, so a body with too many values is refused before it is parsed.
    if sum(map(body.count, (b",", b"[", b"{", b":"))) > config.max_images + _EXTRA_MARKS:
        raise RefusedError(422, "bad_request", f"expected {_SHAPE} with at most {config.max_images} images")
    try:
        values: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(422, "bad_request", f"expected {_SHAPE}, got what is not JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("images"), list) or set(values) - {"images", "top"}:
        raise RefusedError(422, "bad_request", f"expected {_SHAPE}")
    texts = values["images"]
    if not 1 <= len(texts) <= config.max_images:
        text = f"a request holds 1 to {config.max_images} images, got {len(texts)}"
        raise RefusedError(422, "bad_request", text)
    return Asked(tuple(_decoded(text, place) for place, text in enumerate(texts)), _top(values.get("top"), config, top))


def _decoded(text: object, place: int) -> bytes:
    if not isinstance(text, str):
        raise RefusedError(422, "bad_request", f"image {place} must be base64 text, got {type(text).__name__}")
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)  # many encoders break lines
    except (binascii.Error, ValueError):
        message = f"image {place} must be base64 text of an image file (paths and addresses are not opened)"
        raise RefusedError(422, "bad_request", message) from None


def _top(given: object, config: ServeConfig, default: int | None = None) -> int:
    if given is None:
        return config.top if default is None else default
    if isinstance(given, str) and given.isdigit() and len(given) < 5:
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= 1_000:
        raise RefusedError(422, "bad_request", f"top must be an integer in [0, 1000], got {str(given)[:20]!r}")
    return given
