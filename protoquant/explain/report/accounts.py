"""The explained test images of the report: boxes, score maps, training patches, sums."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from protoquant.explain.album import Album, Picture, Rect
from protoquant.explain.gallery import Example, Patch
from protoquant.explain.heat import overlay
from protoquant.explain.ledger import Ledger, ledger
from protoquant.explain.report.page import ClassEvidence, EvidenceLine, Explained, Placed, Tag
from protoquant.model.contributions import Part
from protoquant.model.region import peak_region
from protoquant.pages.pictures import png_uri

# Pixels of a score map on the page; the browser enlarges it smoothly.
_HEAT_SIDE = 56
# Score map (h, w) of an image (by id) for a code; the cell of its maximum is the cell of the presence.
ScoreMap = Callable[[str, int], Float[ndarray, "h w"]]


@dataclass(frozen=True)
class Witness:
    """The inputs of an account besides the numbers.

    Attributes:
        album: Pictures and cells.
        classes: Class names by index.
        nearest: Nearest training patch by code.
        score_map: Score map of a test image for a code.
        shown: Maximum number of contributions listed per account.
    """

    album: Album
    classes: Sequence[str]
    nearest: Mapping[int, Patch]
    score_map: ScoreMap
    shown: int


def explain_image(
    prediction: Mapping[Hashable, Any], contributions: pd.DataFrame, key: str, witness: Witness
) -> Explained:
    """Lay out one test image with the accounts of its predicted and, where it differs, its true class.

    Args:
        prediction: The image's row of predictions.parquet.
        contributions: Its rows of contributions.parquet.
        key: Anchor within the page.
        witness: Pictures, names, patches and maps.

    Returns:
        The explained image.
    """
    image_id, label, predicted = str(prediction["image_id"]), int(prediction["label"]), int(prediction["predicted"])
    picture = witness.album.picture(image_id)
    answer = ledger(contributions, predicted, float(prediction["logit"]), witness.shown)
    accounts = [_account(answer, "Why", picture, answer.logit, witness)]
    if label != predicted:
        truth = ledger(contributions, label, float(prediction["true_logit"]), witness.shown)
        accounts.append(_account(truth, "What speaks for", picture, answer.logit, witness))
    return Explained(
        key=key,
        picture=picture,
        true_name=witness.classes[label],
        predicted_name=witness.classes[predicted],
        probability=float(prediction["probability"]),
        right=label == predicted,
        tags=_tags(accounts[0].lines),
        accounts=tuple(accounts),
    )


def place(patch: Patch, album: Album, classes: Sequence[str]) -> Placed:
    """Find a training patch in its picture."""
    rect = album.cell(patch.image_id, patch.row, patch.col)
    return _placed(patch.image_id, rect, _caption(patch, classes), album)


def place_seen(code: int, seen: Example, witness: Witness) -> Placed:
    """Find the region of a prototype in the picture of a test image."""
    region = peak_region(witness.score_map(seen.image_id, code), (seen.row, seen.col))
    rect = witness.album.region(seen.image_id, region)
    return _placed(seen.image_id, rect, _caption(seen, witness.classes), witness.album)


def _caption(found: Patch | Example, classes: Sequence[str]) -> str:
    return f"{classes[found.label]}, {found.image_id.rsplit('/', 1)[-1]}"


def _placed(image_id: str, rect: Rect, caption: str, album: Album) -> Placed:
    return Placed(album.picture(image_id), rect, album.around(image_id, rect), caption)


def _account(found: Ledger, heading: str, picture: Picture, highest: float, witness: Witness) -> ClassEvidence:
    lines = tuple(_line(index, part, picture, highest, witness) for index, part in enumerate(found.parts, start=1))
    return ClassEvidence(witness.classes[found.label], heading, lines, found.others, found.rest, found.logit)


def _line(index: int, part: Part, picture: Picture, highest: float, witness: Witness) -> EvidenceLine:
    side = max(picture.width, picture.height)
    size = round(_HEAT_SIDE * picture.width / side), round(_HEAT_SIDE * picture.height / side)
    patch, shares = witness.nearest.get(part.code), witness.score_map(picture.image_id, part.code)
    rect = witness.album.region(picture.image_id, peak_region(shares, part.cell))
    return EvidenceLine(
        number=index,
        part=part,
        test=_placed(picture.image_id, rect, "", witness.album),
        heat=png_uri(overlay(shares, *size)),
        train=None if patch is None else place(patch, witness.album, witness.classes),
        share=part.contribution / highest if highest > 0 else 0.0,
    )


def _tags(lines: Sequence[EvidenceLine]) -> tuple[Tag, ...]:
    """Number the regions; several numbers at one corner are placed side by side."""
    seen: dict[tuple[float, float], int] = {}
    tags = []
    for line in lines:
        rect = line.test.rect
        corner = rect.x, rect.y
        tags.append(Tag(line.number, rect, seen.get(corner, 0)))
        seen[corner] = seen.get(corner, 0) + 1
    return tuple(tags)
