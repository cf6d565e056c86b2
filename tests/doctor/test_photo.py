import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from protoquant.data.checks import ImageEntry, open_images
from protoquant.doctor.photo import Photo, describe
from tests.builders.faults import exif
from tests.builders.pictures import picture


def described(folder: Path, image: Image.Image, name: str = "a.jpg", **options) -> Photo:
    image.save(folder / name, **options)
    (found,) = open_images(describe, [ImageEntry(name, "ant", "train")], folder, 1, 1)
    assert isinstance(found, Photo)
    return found


def test_a_photo_keeps_what_the_file_says(tmp_path):
    turned = exif(7)
    turned[ExifTags.Base.Orientation] = 6
    found = described(tmp_path, picture(1, 200, 100), exif=turned)
    assert (found.path, found.class_name, found.split) == ("a.jpg", "ant", "train")
    assert (found.width, found.height) == (100, 200)
    assert (found.format, found.mode, found.camera) == ("JPEG", "colour", "Maker One")
    assert found.size == (tmp_path / "a.jpg").stat().st_size
    later = described(tmp_path, picture(1), exif=exif(9))
    assert later.taken - found.taken == 2
    assert found.thumb.shape == (32, 32, 3)


def test_what_exif_does_not_say_is_unknown(tmp_path):
    strange = Image.Exif()
    strange[ExifTags.Base.Make] = "\0 "
    strange.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "0000:00:00 00:00:00"
    found = described(tmp_path, picture(1), exif=strange)
    assert (found.camera, found.taken) == (None, None)
    found = described(tmp_path, picture(1))
    assert (found.camera, found.taken) == (None, None)


@pytest.mark.parametrize(
    ("change", "name", "mode"),
    [
        (lambda image: image, "a.png", "colour"),
        (lambda image: image.convert("L"), "a.png", "grey"),
        (lambda image: image.convert("L").convert("RGB"), "a.jpg", "grey"),
        (lambda image: image.convert("1"), "a.png", "grey"),
        (lambda image: image.convert("P"), "a.png", "palette"),
        (lambda image: image.convert("RGBA"), "a.png", "transparent"),
        (lambda image: image.convert("LA"), "a.png", "transparent"),
        (lambda image: image.convert("CMYK"), "a.jpg", "CMYK"),
    ],
)
def test_the_mode_in_plain_words(change: Callable[[Image.Image], Image.Image], name, mode, tmp_path):
    assert described(tmp_path, change(picture(2)), name).mode == mode


def test_the_thumbnail_is_the_whole_picture(tmp_path):
    rows = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[:, None], 96, axis=1)
    found = described(tmp_path, Image.fromarray(np.stack([rows] * 3, axis=2)), "a.png")
    assert found.thumb[0].max() < 8
    assert found.thumb[-1].min() > 247


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_is_no_fault_of_the_picture(tmp_path):
    held = io.BytesIO()
    picture(3).save(held, "JPEG")
    head = b"\xff\xe1\x00\x10Exif\x00\x00II*\x00\xff\xff\xff\xff"
    (tmp_path / "a.jpg").write_bytes(held.getvalue()[:2] + head + held.getvalue()[2:])
    (found,) = open_images(describe, [ImageEntry("a.jpg", "ant", None)], tmp_path, 1, 1)
    assert isinstance(found, Photo)
    assert (found.camera, found.taken, found.split) == (None, None, None)
