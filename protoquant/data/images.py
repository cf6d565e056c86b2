"""Opens an image file, or says in one line why it cannot be used."""

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from protoquant.data.archive import read_member
from protoquant.data.pixels import to_rgb, upright
from protoquant.data.quarantine import ImageError, Reason

FORMATS: Mapping[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
SUFFIXES: Mapping[str, str] = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
MAX_PIXELS = 89_478_485  # where Pillow begins to warn

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
)

Image.init()  # loads Pillow's decoders now: its lazy loading is not thread-safe


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of a format that is read."""
    return Path(name).suffix.lower() in SUFFIXES


def open_image(path: Path, *, at_least: int | None = None) -> Image.Image:
    """Decode an image file to upright 8-bit RGB.

    EXIF rotation is applied; CMYK, 16-bit, palette and grey images are converted; transparency is composited on
    white; the first frame of an animation is taken.

    Args:
        path: The file; what it holds decides, not its suffix.
        at_least: Pixels that the shorter side needs. A JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size, which
            is faster; the result is never smaller than asked unless the file is.

    Returns:
        An image of mode RGB.

    Raises:
        ImageError: The file is missing, empty, truncated, undecodable, not an image, too large, or HEIF where nothing
            decodes it; ``reason`` says which.
    """
    return decode_image(read_bytes(path), name=str(path), at_least=at_least)


def read_bytes(path: Path, name: str | None = None) -> bytes:
    """Read a file, which may lie inside a tar archive, with the errors of ``open_image``.

    Args:
        path: The file; ``a.tar/b.jpg`` is b.jpg in the archive a.tar.
        name: Name of the file in errors; by default, its path.
    """
    name = name or str(path)
    if not path.is_file():
        if (held := read_member(path)) is not None:
            return held
        found = "is not a file" if path.exists() else "is missing"
        raise ImageError(name, Reason.MISSING, f"{found}; give the path of an image file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(name, Reason.MISSING, f"cannot be read ({error.strerror}); check its permissions") from error


def decode_image(data: bytes, *, name: str = "image", at_least: int | None = None) -> Image.Image:
    """Decode the bytes of an image file as ``open_image`` does.

    Args:
        data: The whole file.
        name: Name of the image in errors.
        at_least: As in ``open_image``.

    Returns:
        An image of mode RGB.

    Raises:
        ImageError: As in ``open_image``.
    """
    return decode_sized(data, name=name, at_least=at_least)[0]


def decode_sized(
    data: bytes, *, name: str = "image", at_least: int | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode as ``decode_image`` does, and return the size of the whole image too.

    Args:
        data: The whole file.
        name: Name of the image in errors.
        at_least: As in ``open_image``.
        max_pixels: Most pixels that an image may have; a larger one is refused by its header, before decoding.

    Returns:
        An image of mode RGB, and (width, height) of the upright image in the file, in pixels, whatever fraction was
        decoded.

    Raises:
        ImageError: As in ``open_image``.
    """
    kind = _recognise(data, name)
    if kind == "HEIF":
        _load_heif(name)
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            whole = image.size
            _check_size(whole, name, max_pixels)
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            drafted = image.size != whole
            image.load()
            turned = upright(image)
            # Pillow turns a TIFF while loading it.
            width, height = whole if drafted else image.size
            return to_rgb(turned), (width, height) if turned.size == image.size else (height, width)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, f"more than {min(max_pixels, MAX_PIXELS):,} pixels") from error
    except _DECODE_ERRORS as error:
        raise _undecodable(name, kind, data, error) from error


def misnamed(data: bytes, name: str) -> str | None:
    """The format that the bytes of an image hold, if its name says another.

    Args:
        data: The whole file, of an image that decodes.
        name: Its name.
    """
    said, kind = SUFFIXES.get(Path(name).suffix.lower()), _kind(data)
    return None if said in {None, kind} else kind


def _recognise(data: bytes, name: str) -> str:
    """Name the format by the first bytes."""
    if not data:
        raise ImageError(name, Reason.ZERO_BYTES, "is empty (0 bytes); copy it again or remove it")
    kind = _kind(data)
    if kind is None:
        known = ", ".join(FORMATS)
        raise ImageError(name, Reason.NOT_AN_IMAGE, f"is not an image ({known}): it starts with {data[:8]!r}")
    return kind


def _kind(data: bytes) -> str | None:
    """The format that the first bytes belong to."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PPM"
    if data[4:8] == b"ftyp":
        length = int.from_bytes(data[:4], "big")
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(length, 256), 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        return "HEIF" if brands & _HEIF_BRANDS else None
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)


def _load_heif(name: str) -> None:
    """Give Pillow its decoder of HEIF, which comes as an extra."""
    try:
        from pi_heif import register_heif_opener
    except ImportError as error:
        detail = "is HEIF, as phones write it; pip install 'protoquant[heif]' decodes it, or save it as JPEG"
        raise ImageError(name, Reason.UNDECODABLE, detail) from error
    register_heif_opener()


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise _too_large(name, f"{width} x {height} pixels, more than {max_pixels:,}")


def _too_large(name: str, found: str) -> ImageError:
    return ImageError(name, Reason.TOO_LARGE, f"has {found}; scale it down")


def _undecodable(name: str, kind: str, data: bytes, error: Exception) -> ImageError:
    """Distinguish a file that ends early from one that is damaged."""
    said = " ".join(str(error).split())
    if _ends_early(kind, data) or "truncated" in said.lower() or isinstance(error, EOFError):
        return ImageError(name, Reason.TRUNCATED, f"is a {kind} that ends early ({len(data):,} bytes); copy it again")
    # The message of UnidentifiedImageError holds a memory address, which differs from run to run.
    why = "its header is damaged" if isinstance(error, UnidentifiedImageError) else said or type(error).__name__
    return ImageError(name, Reason.UNDECODABLE, f"is a {kind} that cannot be decoded ({why}); replace or remove it")


def _ends_early(kind: str, data: bytes) -> bool:
    """Whether the end that the format requires is missing."""
    if kind == "JPEG":
        return b"\xff\xd9" not in data[-4096:]
    if kind == "PNG":
        return b"IEND" not in data[-4096:]
    if kind == "GIF":
        return b";" not in data[-2:]
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if kind == "BMP":
        return int.from_bytes(data[2:6], "little") > len(data)
    return kind in {"AVIF", "HEIF"} and _box_ends_early(data)


def _box_ends_early(data: bytes) -> bool:
    """Whether a box of an ISO media file is longer than what is left of the file."""
    at = 0
    while at < len(data):
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size == 0:  # to the end of the file
            return False
        if size < head or at + size > len(data):
            return True
        at += size
    return False
