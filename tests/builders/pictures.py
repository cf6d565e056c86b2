"""Pictures drawn from a number: as an image, as pixels, as a file, as a folder; and files that are harmful."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 200, height: int = 180) -> Image.Image:
    """A picture of soft patches; another seed gives another one."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def smooth(seed: int = 0, width: int = 48, height: int = 40) -> Image.Image:
    """A gradient between four corners, whose colours JPEG keeps."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def small(seed: int) -> Image.Image:
    """A picture of few pixels, which is decoded at once."""
    return picture(seed, 64, 56)


def pixels(seed: int, width: int = 200, height: int = 180) -> np.ndarray:
    """A picture as an array (height, width, 3)."""
    return np.asarray(picture(seed, width, height))


def encoded(seed: int, width: int = 96, height: int = 80, kind: str = "PNG") -> bytes:
    """The bytes of a picture's file."""
    held = io.BytesIO()
    picture(seed, width, height).save(held, format=kind)
    return held.getvalue()


def write_pictures(folder: Path, seeds: Sequence[int]) -> list[str]:
    """Small pictures as files in two folders; their names, sorted."""
    names = [f"{'ab'[seed % 2]}/{seed:04d}.png" for seed in seeds]
    for name, seed in zip(names, seeds, strict=True):
        save(folder / name, small(seed))
    return sorted(names)


def write_classes(
    root: Path, sizes: Mapping[str, int], classes: Sequence[str], draw: Callable[[int], Image.Image]
) -> None:
    """``root/split/class/number.png``, so many of each class; ``draw`` gets the running number, from 1."""
    names = [f"{split}/{name}/{n}.png" for split, count in sizes.items() for name in classes for n in range(count)]
    for number, name in enumerate(names, 1):
        save(root / name, draw(number))


def save(path: Path, image: Image.Image) -> None:
    """Write a picture, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def png(width: int, height: int, *, extra: bytes = b"", data: bytes = b"") -> bytes:
    """A PNG by hand: grey, 8 bit; without data only its header says how large it would be."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + _chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small PNG whose comment would unpack to 64 MiB."""
    packed = zlib.compress(bytes(64 * 2**20), 9)
    return png(1, 1, extra=_chunk(b"iTXt", b"c\x00\x01\x00\x00\x00" + packed), data=b"\x00\x00")


def pixel_bomb() -> bytes:
    """A PNG of 8 x 8 pixels whose data would unpack to 64 MiB."""
    return png(8, 8, data=bytes(64 * 2**20))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
