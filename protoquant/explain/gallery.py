"""The prototypes that the report shows, with the patches, classes and use of each."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Float


@dataclass(frozen=True)
class Patch:
    """A training patch that a prototype stands for.

    Attributes:
        image_id: Training image.
        label: Its class.
        row: Row of the grid cell.
        col: Column of that cell.
        cosine: Similarity of the patch with the prototype.
        weight: Weight of the patch in the mixture that the prototype is, in [0, 1]; None for free codes.
    """

    image_id: str
    label: int
    row: int
    col: int
    cosine: float
    weight: float | None

    @classmethod
    def of(cls, row: Mapping[Hashable, Any]) -> Self:
        """The patch of a row of the provenance."""
        weight = float(row["weight"]) if "weight" in row else None
        place = str(row["image_id"]), int(row["label"]), int(row["row"]), int(row["col"])
        return cls(*place, float(row["cosine"]), weight)


@dataclass(frozen=True)
class Example:
    """A test image in whose answer a prototype speaks.

    Attributes:
        kind: Why it is shown: ``strongest``, ``at random`` or ``weakest``, by contribution.
        image_id: The test image.
        label: The predicted class.
        row: Row of the grid cell.
        col: Column of that cell.
        score: Presence of the prototype, in [0, 1].
    """

    kind: str
    image_id: str
    label: int
    row: int
    col: int
    score: float


@dataclass(frozen=True)
class GalleryPrototype:
    """One prototype of the gallery.

    Attributes:
        code: Its index.
        home: The class with its largest head weight.
        classes: (class, weight) of every class that uses it, heaviest first.
        used: Number of test images where it speaks for the predicted class.
        carried: Mean share of the class score that it carries in these images, in [0, 1].
        patches: Its nearest training patches, nearest first.
        examples: A few of the ``used`` test images.
    """

    code: int
    home: int
    classes: tuple[tuple[int, float], ...]
    used: int
    carried: float
    patches: tuple[Patch, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Gallery:
    """The prototypes shown, grouped by home class, and how many there are in all.

    Attributes:
        groups: (class, its prototypes) in class order; a class without one is left out.
        total: Number of prototypes of the model.
    """

    groups: tuple[tuple[int, tuple[GalleryPrototype, ...]], ...]
    total: int

    @property
    def shown(self) -> int:
        """Number of prototypes shown."""
        return sum(len(prototypes) for _, prototypes in self.groups)


def gallery(
    head: Float[np.ndarray, "c k"],
    provenance: pd.DataFrame,
    spoken: pd.DataFrame,
    *,
    per_class: int,
    at_most: int,
    patches: int,
) -> Gallery:
    """Choose the prototypes to show: for every class those with its largest weights.

    Args:
        head: Non-negative weights (c, k).
        provenance: code, rank, image_id, label, row, col, cosine of the nearest training patches.
        spoken: The test images where each speaks for the answer, as returned by :func:`speaking`.
        per_class: Maximum number of prototypes under one class.
        at_most: Maximum number of prototypes in all; the heaviest of each class come first.
        patches: Maximum number of patches of each.

    Returns:
        The gallery. A prototype stands under one class only, the one with its largest weight.
    """
    codes = np.flatnonzero((head > 0).any(axis=0))
    homes = head[:, codes].argmax(axis=0)
    nearest = dict(iter(provenance.sort_values(["code", "rank"]).groupby("code")))
    heard = dict(iter(spoken.groupby("code")))
    ranked = sorted(
        (position, label, int(code))
        for label in np.unique(homes)
        for position, code in enumerate(_heaviest(codes[homes == label], head[label])[:per_class])
    )
    groups: dict[int, list[GalleryPrototype]] = {}
    for _, label, code in ranked[:at_most]:
        weights, own = head[:, code], heard.get(code, spoken.head(0))
        order = [int(index) for index in np.argsort(-weights, kind="stable") if weights[index] > 0]
        groups.setdefault(int(label), []).append(
            GalleryPrototype(
                code=code,
                home=int(label),
                classes=tuple((index, float(weights[index])) for index in order),
                used=len(own),
                carried=float(own["share"].mean()) if len(own) else 0.0,
                patches=_patches(nearest.get(code), patches),
                examples=_examples(own, code),
            )
        )
    return Gallery(tuple((label, tuple(groups[label])) for label in sorted(groups)), len(codes))


def speaking(contributions: pd.DataFrame, predictions: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """The contributions by which prototypes speak for the predicted class of a test image.

    Args:
        contributions: image_id, class, code, score, contribution, row, col.
        predictions: image_id, predicted, logit.
        epsilon: Contribution above which a prototype counts.

    Returns:
        Those rows of contributions, the largest contribution of each code first, with ``share``, their share of the
        class score.
    """
    of_image = predictions.set_index("image_id")
    predicted, logit = (contributions["image_id"].map(of_image[name]) for name in ("predicted", "logit"))
    speaks = (contributions["class"] == predicted) & (contributions["contribution"] > epsilon)
    rows = contributions[speaks].assign(share=(contributions["contribution"] / logit)[speaks])
    return rows.sort_values(["code", "contribution", "image_id"], ascending=[True, False, True])


def _examples(rows: pd.DataFrame, code: int) -> tuple[Example, ...]:
    """The strongest, the weakest, and between them one at random: the best alone would flatter a prototype."""
    last = len(rows) - 1
    places = {"strongest": 0} if last >= 0 else {}
    if last >= 2:
        places["at random"] = int(np.random.default_rng(code).integers(1, last))
    if last >= 1:
        places["weakest"] = last
    found = []
    for kind, place in places.items():
        row = rows.iloc[place]
        where = str(row["image_id"]), int(row["class"]), int(row["row"]), int(row["col"])
        found.append(Example(kind, *where, float(row["score"])))
    return tuple(found)


def _heaviest(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return codes[np.argsort(-weights[codes], kind="stable")]


def _patches(rows: pd.DataFrame | None, count: int) -> tuple[Patch, ...]:
    if rows is None:
        return ()
    return tuple(map(Patch.of, rows.head(count).to_dict("records")))
