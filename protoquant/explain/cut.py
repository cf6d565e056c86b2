"""Cuts what the backbone sees out of an image; where it sees padding, a plain colour stands for it."""

from PIL import Image

from protoquant.features.backbone.preprocessing import Box


def cut(image: Image.Image, box: Box, longer: int, beyond: str | tuple[int, int, int]) -> Image.Image:
    """Cut a box out of an image and resize it.

    Args:
        image: RGB.
        box: (left, top, right, bottom) in pixels of the image; it may reach beyond the image, which lies partly in it.
        longer: Longer side of the result, in pixels.
        beyond: Colour of what is beyond the image.

    Returns:
        RGB, in the aspect ratio of the box.
    """
    left, top, right, bottom = box
    scale = longer / max(right - left, bottom - top)
    width, height = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    inside = max(left, 0.0), max(top, 0.0), min(right, float(image.width)), min(bottom, float(image.height))
    if inside == box:
        return image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    x0, y0, x1, y1 = (round((edge - start) * scale) for edge, start in zip(inside, (left, top, left, top), strict=True))
    canvas = Image.new("RGB", (width, height), beyond)
    size = max(1, x1 - x0), max(1, y1 - y0)
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS, box=inside), (x0, y0))
    return canvas
