"""Drawing an explanation for ``protoquant explain``: parts of the image beside training patches, and their sum."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from protoquant.core.errors import DataError
from protoquant.explain.cut import cut
from protoquant.explain.heat import overlay
from protoquant.features.backbone.preprocessing import Box
from protoquant.model.explanation import Contribution, Explanation
from protoquant.pages.palette import ACCENT, BOX, INK, LINE, QUIET
from protoquant.pages.pictures import save_figure

_ROW_INCHES, _WIDTH_INCHES, _DPI = 1.25, 9.6, 130
_PIXELS = 480


@dataclass(frozen=True)
class ContributionRow:
    """One line of the picture.

    Attributes:
        contribution: The contribution shown.
        box: Its region, in pixels of the view.
        train: Pictures of its training patches.
        shares: What of the prototype each of them is, in words; empty where it is only near.
        caption: Class of the nearest patch.
        share: Share of the class score, in [0, 1].
    """

    contribution: Contribution
    box: Box
    train: tuple[Image.Image, ...]
    shares: tuple[str, ...]
    caption: str
    share: float


@dataclass(frozen=True)
class Sheet:
    """The content of the picture, before it is drawn.

    Attributes:
        view: The backbone's view of the image.
        heading: The answer in words.
        rows: The largest contributions.
        others: Number of further prototypes that contribute.
        rest: Sum of their contributions.
        logit: The class score.
    """

    view: Image.Image
    heading: str
    rows: tuple[ContributionRow, ...]
    others: int
    rest: float
    logit: float


def sheet(explanation: Explanation, image: Image.Image, shown: int) -> Sheet:
    """Collect the content of the picture.

    Args:
        explanation: Explanation of this image.
        image: The whole image, upright RGB, or a smaller copy with the same aspect ratio.
        shown: Maximum number of contributions to show, at least 1.

    Returns:
        The sheet; boxes are in pixels of its view.

    Raises:
        DataError: The aspect ratio of the image is not that of the explained one.
    """
    scale = image.width / explanation.width
    if abs(scale * explanation.height - image.height) > 1.0 + scale:
        raise DataError(
            f"the image must be the one that was explained, {explanation.width} x {explanation.height} pixels or that "
            f"aspect, got {image.width} x {image.height}"
        )
    left, top, right, bottom = (edge * scale for edge in explanation.frame)
    view = cut(image.convert("RGB"), (left, top, right, bottom), _PIXELS, LINE)
    parts = explanation.contributions[:shown]
    rest = explanation.contributions[shown:]
    verdict = "predicted" if explanation.label == explanation.predicted else "not the predicted class"
    return Sheet(
        view=view,
        heading=f"{explanation.class_name}: {verdict}, probability {100 * explanation.probability:.1f} %",
        rows=tuple(_row(part, explanation) for part in parts),
        others=len(rest),
        rest=sum(part.contribution for part in rest),
        logit=explanation.logit,
    )


def explanation_figure(explanation: Explanation, image: Image.Image, shown: int = 5) -> Image.Image:
    """Draw an explanation: the image with numbered boxes, then score map, training patches and product of each part.

    Args:
        explanation: Explanation of this image.
        image: The image, upright RGB.
        shown: Maximum number of contributions drawn one by one; the rest is one sum.

    Returns:
        RGB.

    Raises:
        DataError: The aspect ratio of the image is not that of the explained one.
    """
    found = sheet(explanation, image, shown)
    height = max(4.2, 0.8 + _ROW_INCHES * len(found.rows) + 0.5)
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    _heading(figure, found, height)
    for index, row in enumerate(found.rows):
        bottom = 1.0 - (0.8 + _ROW_INCHES * (index + 1)) / height
        _draw_row(figure, found.view, row, f"{index + 1}", (bottom, (_ROW_INCHES - 0.12) / height))
    _total(figure, found, 0.22 / height)
    held = io.BytesIO()
    save_figure(figure, held)
    held.seek(0)
    return Image.open(held).convert("RGB")


def _row(part: Contribution, explanation: Explanation) -> ContributionRow:
    left, top, right, bottom = explanation.frame
    size = _PIXELS / max(right - left, bottom - top)
    (rows, cols), region = explanation.grid, part.region
    down, across = (bottom - top) * size / rows, (right - left) * size / cols
    pictures, shares = [], []
    for patch in part.patches:
        if patch.crop is not None:
            with Image.open(patch.crop) as crop:
                pictures.append(crop.convert("RGB"))
                shares.append(f"{100 * patch.weight:.0f} % of it" if patch.weight else "")
    caption = part.patches[0].class_name if part.patches else "no training patch recorded"
    share = part.contribution / explanation.logit if explanation.logit > 0 else 0.0
    box = (region.left * across, region.top * down, region.right * across, region.bottom * down)
    return ContributionRow(part, box, tuple(pictures[:3]), tuple(shares[:3]), caption, share)


def _heading(figure: Figure, found: Sheet, height: float) -> None:
    """The answer, and the image with its numbered boxes."""
    figure.text(0.03, 1.0 - 0.38 / height, _plain(found.heading), size=14, weight="bold", color=INK, va="center")
    captions = (
        (0.345, "this part"),
        (0.485, "looks like these training patches"),
        (0.79, "score \N{MULTIPLICATION SIGN} weight = contribution"),
    )
    for left, caption in captions:
        figure.text(left, 1.0 - 0.66 / height, caption, size=7.5, color=QUIET, va="center")
    whole = _panel(figure, (0.03, 1.0 - (0.8 + 3.1) / height, 0.30, 3.1 / height))
    whole.imshow(np.asarray(found.view))
    whole.set_anchor("NW")
    for number, row in enumerate(found.rows, start=1):
        _box(whole, row.box)
        whole.text(*row.box[:2], f"{number}", size=8, weight="bold", color=INK, bbox={"facecolor": BOX, "pad": 1.5})


def _draw_row(figure: Figure, view: Image.Image, row: ContributionRow, number: str, span: tuple[float, float]) -> None:
    """Score map, training patches, product and bar of one prototype."""
    part, (bottom, height) = row.contribution, span
    heat = _panel(figure, (0.345, bottom, 0.115, height))
    heat.imshow(_over(view, part))
    _box(heat, row.box)
    for place, (picture, patch_share) in enumerate(zip(row.train, row.shares, strict=True)):
        panel = _panel(figure, (0.485 + 0.097 * place, bottom, 0.092, height))
        panel.imshow(np.asarray(picture))
        panel.text(0.5, -0.03, patch_share, size=6.5, color=QUIET, ha="center", va="top", transform=panel.transAxes)
    middle = bottom + height / 2
    text = f"{number}   prototype {part.code}"
    figure.text(0.79, middle + 0.24 * height, text, size=8.5, color=QUIET, va="center")
    product = f"{part.score:.3f} \N{MULTIPLICATION SIGN} {part.weight:.3f} = "
    figure.text(0.79, middle, product + f"{part.contribution:.3f}", size=9, color=INK, va="center", weight="bold")
    figure.text(0.79, middle - 0.24 * height, _plain(row.caption)[:30], size=7.5, color=QUIET, va="center")
    for width, colour in ((0.18, LINE), (0.18 * min(1.0, row.share), ACCENT)):
        bar = Rectangle(
            (0.79, bottom + 0.04 * height), width, 0.05 * height, color=colour, transform=figure.transFigure
        )
        figure.add_artist(bar)


def _total(figure: Figure, found: Sheet, at: float) -> None:
    plural = "" if found.others == 1 else "s"
    more = f"+ {found.others} further prototype{plural}: {found.rest:.3f}      " if found.others else ""
    text = f"{more}sum = score of the class: {found.logit:.3f}"
    figure.text(0.97, at, text, size=10, color=INK, va="center", ha="right", weight="bold")


def _panel(figure: Figure, rectangle: Sequence[float]) -> Axes:
    left, bottom, width, height = rectangle
    axes = figure.add_axes((left, bottom, width, height))
    axes.set_axis_off()
    return axes


def _box(axes: Axes, box: Box) -> None:
    left, top, right, bottom = box
    for width, colour in ((3.2, "#000000"), (1.6, BOX)):
        axes.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=width, edgecolor=colour)
        )


def _over(view: Image.Image, part: Contribution) -> UInt8[np.ndarray, "y x 3"]:
    """The view under its score map."""
    base = view.convert("RGBA")
    base.alpha_composite(overlay(part.presence, *view.size))
    return np.asarray(base.convert("RGB"))


def _plain(text: str) -> str:
    """Replace underscores by spaces, and escape dollar signs, which matplotlib would read as mathematics."""
    return text.replace("_", " ").replace("$", r"\$")
