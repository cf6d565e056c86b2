import base64
import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from protoquant.core.errors import DataError
from protoquant.data.images import decode_image, decode_sized, is_image_name, misnamed, open_image
from protoquant.data.quarantine import ImageError, Reason

Photo = Callable[..., Image.Image]
FORMATS = [
    ("a.jpg", {}),
    ("a.jpeg", {"progressive": True}),
    ("a.png", {}),
    ("a.webp", {"lossless": True}),
    ("a.gif", {}),
    ("a.bmp", {}),
    ("a.tif", {}),
    ("a.tiff", {"compression": "tiff_lzw"}),
    ("a.ppm", {}),
    ("a.avif", {"quality": 90}),
]
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAa1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "AA5waXRtAAAAAAACAAAAEGlkYXQAAAAAADAAIAAAADhpbG9jAQAAAERAAAIAAQAAAAAAAAHRAAEAAAAAAAAAKQACAAEAAAAAAAAA"
    "AQAAAAAAAAAIAAAAOGlpbmYAAAAAAAIAAAAVaW5mZQIAAAEAAQAAaHZjMQAAAAAVaW5mZQIAAAAAAgAAZ3JpZAAAAADYaXBycAAA"
    "ALZpcGNvAAAAdmh2Y0MBA3AAAAAAAAAAAAAe8AD8/fj4AAAPAyAAAQAYQAEMAf//A3AAAAMAkAAAAwAAAwAeugJAIQABACpCAQED"
    "cAAAAwCQAAADAAADAB6gIIEFlurkprm4EBAwIAAAAwAgAAADACEiAAEABkQBwXPAiQAAABRpc3BlAAAAAAAAAEAAAABAAAAAFGlz"
    "cGUAAAAAAAAAMAAAACAAAAAQcGl4aQAAAAADCAgIAAAAGmlwbWEAAAAAAAAAAgABAoECAAICA4QAAAAaaXJlZgAAAAAAAAAOZGlt"
    "ZwACAAEAAQAAADFtZGF0AAAAJSgBr1j5Et3/xqv/h9IaSOc779SMXADPvqoWnjuTQbqXtMguYsA="
)
"""48 x 32 pixels, the left half red, the right half blue."""


def difference(image: Image.Image, wanted: Image.Image) -> float:
    """Mean absolute difference in grey levels."""
    assert image.mode == "RGB"
    assert image.size == wanted.size
    return float(np.abs(np.asarray(image, float) - np.asarray(wanted.convert("RGB"), float)).mean())


@pytest.mark.parametrize(("name", "options"), FORMATS)
def test_every_format_is_read(name: str, options: dict[str, object], tmp_path: Path, photo: Photo) -> None:
    photo().save(tmp_path / name, **options)
    assert difference(open_image(tmp_path / name), photo()) < 3


def test_capital_suffix_is_the_same_format(tmp_path: Path, photo: Photo) -> None:
    photo().save(tmp_path / "DSC.JPG", "JPEG")
    assert open_image(tmp_path / "DSC.JPG").size == (48, 40)
    assert is_image_name("DSC.JPG")
    assert not is_image_name("notes.txt")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_exif_rotation_is_applied_once(orientation: int, name: str, tmp_path: Path, photo: Photo) -> None:
    upright = photo()
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / name, exif=exif)
    assert difference(open_image(tmp_path / name), upright) < 4


@pytest.mark.parametrize("exif", [b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01"])
def test_damaged_exif_leaves_the_image_as_it_is(exif: bytes, tmp_path: Path, photo: Photo) -> None:
    photo().save(tmp_path / "a.jpg", exif=exif)
    assert difference(open_image(tmp_path / "a.jpg"), photo()) < 3


@pytest.mark.parametrize("value", [0, 9, 700])
def test_unknown_orientation_leaves_the_image_as_it_is(value: int, tmp_path: Path, photo: Photo) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    photo().save(tmp_path / "a.jpg", exif=exif)
    assert difference(open_image(tmp_path / "a.jpg"), photo()) < 3


@pytest.mark.parametrize("name", ["adobe.jpg", "plain.tif"])
def test_cmyk_keeps_its_colours(name: str, tmp_path: Path, photo: Photo) -> None:
    photo().convert("CMYK").save(tmp_path / name, quality=95)
    if name == "adobe.jpg":  # stored inverted, with the marker of Adobe
        assert b"Adobe" in (tmp_path / name).read_bytes()
    assert Image.open(tmp_path / name).mode == "CMYK"
    assert difference(open_image(tmp_path / name), photo()) < 4


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_is_scaled_not_clipped(name: str, tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 64 * 32).reshape(32, 64).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / name)
    shown = np.asarray(open_image(tmp_path / name))
    assert np.array_equal(shown[..., 0], levels >> 8)
    assert np.array_equal(shown[..., 0], shown[..., 2])


def test_16_bit_colour_png_keeps_the_high_byte(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(np.asarray(decode_image(png)), values >> 8)


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif is a TIFF that cannot be decoded \(pixels are floats"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_alpha_is_composited_on_white(mode: str, name: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1), (40, 40, 40, 255))
    image.putpixel((1, 0), (40, 40, 40, 0))
    image.putpixel((2, 0), (40, 40, 40, 128))
    image.convert(mode).save(tmp_path / name)
    shown = np.asarray(open_image(tmp_path / name))[0, :, 0]
    assert shown.tolist()[:2] == [40, 255]
    assert abs(int(shown[2]) - 147) <= 1  # 40 * 128/255 + 255 * 127/255


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_transparent_palette_entry_becomes_white(name: str, tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putdata([0, 1])
    image.save(tmp_path / name, transparency=1)
    assert Image.open(tmp_path / name).mode == "P"
    assert np.asarray(open_image(tmp_path / name)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_transparent_colour_of_an_rgb_png_becomes_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    image.save(tmp_path / "a.png", transparency=(9, 9, 9))
    assert np.asarray(open_image(tmp_path / "a.png")).tolist() == [[[1, 2, 3], [255, 255, 255]]]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_first_frame_of_several_is_taken(name: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in [(250, 0, 0), (0, 250, 0), (0, 0, 250)]]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert Image.open(tmp_path / name).n_frames == 3
    red, green, _ = np.asarray(open_image(tmp_path / name))[4, 4].tolist()
    assert red > 230
    assert green < 20


def test_phone_jpeg_with_several_pictures_is_a_jpeg(tmp_path: Path, photo: Photo) -> None:
    photo().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[photo(1)])
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    assert difference(open_image(tmp_path / "a.jpg"), photo()) < 3


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_has_three_equal_channels(mode: str, tmp_path: Path, photo: Photo) -> None:
    photo().convert(mode).save(tmp_path / "a.png")
    shown = np.asarray(open_image(tmp_path / "a.png"))
    assert shown.shape == (40, 48, 3)
    assert (shown == shown[..., :1]).all()


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("at_least", "size"), [(100, (200, 100)), (101, (400, 200)), (250, (800, 400)), (9999, (800, 400))]
)
def test_jpeg_is_decoded_small_but_large_enough(
    orientation: int, at_least: int, size: tuple[int, int], tmp_path: Path, photo: Photo
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo(width=800, height=400).save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg", at_least=at_least).size == (size if orientation == 1 else size[::-1])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_decoded_small_keeps_its_colours(mode: str, tmp_path: Path, photo: Photo) -> None:
    large = photo(3, width=800, height=400).convert(mode)
    large.save(tmp_path / "a.jpg", quality=95)
    small = open_image(tmp_path / "a.jpg", at_least=100)
    assert difference(small, large.convert("RGB").resize((200, 100), Image.Resampling.BOX)) < 4


def test_at_least_leaves_other_formats_whole(tmp_path: Path, photo: Photo) -> None:
    photo(width=800, height=400).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png", at_least=50).size == (800, 400)


def reason_of(path: Path) -> tuple[Reason, str]:
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value) == f"{path} {caught.value.detail}"
    return caught.value.reason, caught.value.detail


def test_faults_have_their_reasons(tmp_path: Path, photo: Photo) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello, I am no image")
    (tmp_path / "notes.txt").write_text("hello, I am no image")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to("nowhere")
    assert reason_of(tmp_path / "empty.png") == (Reason.ZERO_BYTES, "is empty (0 bytes); copy it again or remove it")
    for name in ("text.png", "notes.txt"):
        reason, detail = reason_of(tmp_path / name)
        assert reason is Reason.NOT_AN_IMAGE
        assert detail.endswith("it starts with b'hello, I'")
    assert reason_of(tmp_path / "absent.png") == (Reason.MISSING, "is missing; give the path of an image file")
    assert reason_of(tmp_path / "broken.png")[0] is Reason.MISSING
    assert reason_of(tmp_path / "folder.png") == (Reason.MISSING, "is not a file; give the path of an image file")


def test_the_bytes_decide_whatever_the_name_says(tmp_path: Path, photo: Photo) -> None:
    for name, kind, odd in (
        ("a", "PNG", None),
        ("a.png", "JPEG", "JPEG"),
        ("a.txt", "JPEG", None),
        ("a.jpe", "JPEG", None),
    ):
        photo().save(tmp_path / name, kind)
        assert open_image(tmp_path / name).size == (48, 40)
        assert misnamed((tmp_path / name).read_bytes(), name) == odd


def test_a_photo_of_a_phone_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = decode_image(HEIC, name="a.heic")
    assert image.size == (48, 32)
    assert [image.getpixel((x, 5))[0] > 200 for x in (5, 40)] == [True, False]  # type: ignore[index]
    with pytest.raises(ImageError, match="is a HEIF that ends early") as caught:
        decode_image(HEIC[:-30], name="a.heic")
    assert caught.value.reason is Reason.TRUNCATED
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageError, match=r"a\.heic is HEIF.*protoquant\[heif\]' decodes it, or save it as JPEG"):
        decode_image(HEIC, name="a.heic")


def test_only_the_decoder_of_the_recognised_format_sees_a_file() -> None:
    photo_cd = bytearray(96 * 2048 + 768 * 512 * 3 // 2)
    photo_cd[2048:2052] = b"PCD_"
    assert Image.open(io.BytesIO(photo_cd)).format == "PCD"
    for start, kind in ((b"GIF89a", "GIF"), (b"\xff\xd8\xff\xe0", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG")):
        photo_cd[: len(start)] = start
        with pytest.raises(ImageError, match=f"is a {kind} that"):
            decode_image(bytes(photo_cd))


def test_image_error_is_a_data_error() -> None:
    with pytest.raises(DataError, match=r"^upload\.png is empty"):
        decode_image(b"", name="upload.png")


@pytest.mark.parametrize(("name", "options"), FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_a_file_cut_short_is_never_an_image(
    name: str, options: dict[str, object], share: float, tmp_path: Path, photo: Photo
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    path = tmp_path / name
    Image.fromarray(noise).save(path, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    reason, _ = reason_of(path)
    compressed_tiff = options.get("compression")  # libtiff does not say that it ran out of bytes
    assert reason in ({Reason.TRUNCATED, Reason.UNDECODABLE} if compressed_tiff else {Reason.TRUNCATED})


def test_damaged_bytes_only_ever_raise_image_errors(photo: Photo) -> None:
    rng = np.random.default_rng(0)
    reasons = set()
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        photo(width=16, height=16).save(buffer, kind)
        whole = np.frombuffer(buffer.getvalue(), np.uint8)
        for _ in range(150):
            data = whole.copy()
            data[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
            try:
                decode_image(data.tobytes())
            except ImageError as error:
                reasons.add(error.reason)
    assert Reason.UNDECODABLE in reasons


def test_undecodable_text_is_the_same_in_every_run(photo: Photo) -> None:
    buffer = io.BytesIO()
    photo().save(buffer, "WEBP")
    data = bytearray(buffer.getvalue())
    data[12:20] = b"\0" * 8
    texts = set()
    for _ in range(3):
        with pytest.raises(ImageError, match="is a WEBP that cannot be decoded") as caught:
            decode_image(bytes(data))
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert "0x" not in texts.pop()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_decompression_bomb_is_not_unpacked(side: int, tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "a.png").write_bytes(png + empty)
    reason, detail = reason_of(tmp_path / "a.png")
    assert reason is Reason.TOO_LARGE
    assert "more than 89,478,485 pixels" in detail or "more than 89,478,485; scale it down" in detail
    with pytest.raises(ImageError, match=r"more than 1,000"):
        decode_sized((tmp_path / "a.png").read_bytes(), max_pixels=1_000)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_whole_size_is_told_whatever_fraction_is_decoded(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = tmp_path / "wide.jpg"
    Image.new("RGB", (1601, 900), "red").save(file, exif=exif)
    expected = (900, 1601) if orientation in (6, 8) else (1601, 900)
    for at_least in (None, 100):
        image, size = decode_sized(file.read_bytes(), at_least=at_least)
        assert size == expected
        assert (image.width < image.height) == (size[0] < size[1])
    assert image.width < 900


def test_more_pixels_than_allowed_are_refused_by_the_header(tmp_path: Path) -> None:
    file = tmp_path / "big.png"
    Image.new("L", (200, 100)).save(file)
    assert decode_sized(file.read_bytes(), max_pixels=20_000)[1] == (200, 100)
    with pytest.raises(ImageError, match=r"200 x 100 pixels, more than 19,999") as caught:
        decode_sized(file.read_bytes()[:60], max_pixels=19_999)
    assert caught.value.reason is Reason.TOO_LARGE
