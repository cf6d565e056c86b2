import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from protoquant.pages.pictures import data_uri, png_uri, save_figure, webp_uri


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))


def test_an_address_holds_the_picture_and_its_format(image: Image.Image) -> None:
    assert data_uri(b"\x00\xff\xfe", "png") == "data:image/png;base64,AP/+"
    for uri, kind in ((png_uri(image), "PNG"), (webp_uri(image, 90), "WEBP")):
        head, text = uri.split(",")
        assert head == f"data:image/{kind.lower()};base64"
        shown = Image.open(io.BytesIO(base64.b64decode(text)))
        assert (shown.format, shown.size) == (kind, image.size)
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(png_uri(image).split(",")[1])))) == image).all()


def test_same_pixels_same_text(image: Image.Image) -> None:
    assert webp_uri(image, 70) == webp_uri(image.copy(), 70)
    assert png_uri(image) == png_uri(image.copy())
    assert len(webp_uri(image, 30)) < len(webp_uri(image, 95))


def test_a_figure_does_not_name_what_drew_it() -> None:
    held = io.BytesIO()
    save_figure(Figure(figsize=(1, 1)), held)
    assert held.getvalue().startswith(b"\x89PNG")
    assert b"Software" not in held.getvalue()
