"""Evidence beside the object: how much of named patches, and of explanations, comes from boxes that miss the object."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.metrics.evidence import evidence_off, mean_object_share, off, ratio_of
from protoquant.evaluation.metrics.intervals import Statistic, estimate
from protoquant.evaluation.metrics.purity import Purity, purity
from protoquant.evaluation.places.patches import Patches
from protoquant.evaluation.places.placed_parts import PlacedParts
from protoquant.evaluation.subject import Measured, Subject

TABLE = "evidence.csv"
TRAIN = "train"


def measure(subject: Subject, split: str) -> Measured:
    """Measure the patches that the bundle names for its prototypes, and the evidence for the predictions on a split."""
    shown, numbers, tables = _shown(subject), {}, []
    train, own = subject.places(TRAIN), subject.places(split)
    for box, placed in train.boxes.items():
        found = purity(shown, placed.merged(subject.parts.schema.mirrored))
        numbers[box] = {
            **_of_patches(subject, f"evidence-{split}", shown, placed, found),
            **_of_explanations(subject, f"evidence-{split}", split, own.boxes[box]),
        }
        tables.append(_table(subject, box, shown, placed, found))
    return Measured(numbers, {TABLE: pd.concat(tables, ignore_index=True)})


def _shown(subject: Subject) -> Patches:
    """The training patches that the bundle names for its prototypes, as far as their images are annotated."""
    bundle, positions = subject.bundle, subject.places(TRAIN).positions
    image_ids = subject.store(TRAIN).image_ids
    place = {image_ids[position]: number for number, position in enumerate(positions)}
    rows = bundle.provenance[bundle.provenance["image_id"].isin(list(place))]
    codes = bundle.prototypes.numpy()
    return Patches(
        owner=np.searchsorted(codes, rows["code"].to_numpy()),
        image=rows["image_id"].map(place).to_numpy(dtype=np.int64),
        cell=(rows["row"] * bundle.grid[1] + rows["col"]).to_numpy(dtype=np.int64),
        p=len(codes),
    )


def _of_patches(subject: Subject, name: str, shown: Patches, placed: PlacedParts, found: Purity) -> dict[str, Any]:
    share = _object_share(placed)
    mean = mean_object_share(shown, share)
    beside = np.bincount(shown.owner, off(share[shown.image, shown.cell]), minlength=shown.p)
    return {
        "patches_off": _ratio(subject, f"{name}-patches", ratio_of(beside, shown.counts), shown.p),
        "prototypes_off": subject.estimate(f"{name}-prototypes", np.where(np.isnan(mean), np.nan, off(mean))),
        "object_share": subject.estimate(f"{name}-object", mean),
        "same_part": subject.estimate(f"{name}-same", found.purity),
    }


def _of_explanations(subject: Subject, name: str, split: str, placed: PlacedParts) -> dict[str, Any]:
    seen, positions, share = subject.sightings(split), subject.places(split).positions, _object_share(placed)
    weights = subject.head[seen.predicted[positions]]
    beside, total = evidence_off(seen.scores[positions], seen.cells[positions], weights, share)
    return {
        "off": _ratio(subject, f"{name}-off", ratio_of(beside, total), len(total)),
        "random_off": subject.estimate(f"{name}-random", off(share).mean(axis=1)),
    }


def _ratio(subject: Subject, name: str, statistic: Statistic, n: int) -> dict[str, Any] | None:
    if n == 0:
        return None
    return asdict(estimate(statistic, n, subject.config, numpy_generator(subject.seed, "evaluate", name)))


def _object_share(placed: PlacedParts) -> np.ndarray:
    if placed.object_share is None:
        raise TypeError("the group evidence needs masks of parts")
    return placed.object_share


def _table(subject: Subject, box: str, shown: Patches, placed: PlacedParts, found: Purity) -> pd.DataFrame:
    """One row for each prototype."""
    share, (rows, cols) = _object_share(placed), subject.bundle.grid
    height, width = subject.bundle.backbone.preprocessing.crop
    names = np.array([*placed.merged(subject.parts.schema.mirrored).names, ""], dtype=object)
    return pd.DataFrame(
        {
            "code": subject.bundle.prototypes.numpy(),
            "box": box,
            "grid": f"{rows}x{cols}",
            "view": f"{height}x{width} {subject.bundle.backbone.preprocessing.mode}",
            "patches": shown.counts,
            "patches_off": np.bincount(shown.owner, off(share[shown.image, shown.cell]), minlength=shown.p),
            "object_share": mean_object_share(shown, share),
            "part": names[found.part],
            "same_part": found.purity,
        }
    )
