"""Evidence beside the object: how much of named patches, and of explanations, comes from boxes that miss the object."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.metrics.evidence import evidence_off, mean_object_share, off, ratio_of
from protoquant.evaluation.metrics.intervals import Statistic, estimate
from protoquant.evaluation.metrics.purity import purity
from protoquant.evaluation.places.patches import Patches
from protoquant.evaluation.places.placed_parts import PlacedParts
from protoquant.evaluation.subject import GroupResult, Subject

TABLE = "evidence.csv"
TRAIN = "train"


def measure(subject: Subject, split: str) -> GroupResult:
    """Measure the patches that the bundle names for its prototypes, and the evidence for the predictions on a split."""
    shown, name, numbers, tables = _shown(subject), f"evidence-{split}", {}, []
    train, own = subject.places(TRAIN), subject.places(split)
    by_chance = shown.random_cells(train.boxes["cell"].hits.shape[1], numpy_generator(subject.seed, "evaluate", name))
    for box, unmerged in train.boxes.items():
        placed = unmerged.merged(subject.parts.schema.mirrored)
        numbers[box] = {
            **_of_patches(subject, name, shown, placed),
            "random": _of_patches(subject, f"{name}-by-chance", by_chance, placed),
            **_of_explanations(subject, name, split, own.boxes[box]),
        }
        tables.append(_table(subject, box, shown, placed))
    return GroupResult(numbers, {TABLE: pd.concat(tables, ignore_index=True)})


def _shown(subject: Subject) -> Patches:
    """The training patches that the bundle names for its prototypes, as far as their images are annotated.

    Of a mixture these are the patches that it is made of, not the others that are near.
    """
    bundle, positions = subject.bundle, subject.places(TRAIN).positions
    image_ids = subject.store(TRAIN).image_ids
    place = {image_ids[position]: number for number, position in enumerate(positions)}
    named = bundle.provenance
    if bundle.codes_are == "mixture":
        named = named[named["weight"] > 0]
    rows = named[named["image_id"].isin(list(place))]
    codes = bundle.prototypes.numpy()
    return Patches(
        owner=np.searchsorted(codes, rows["code"].to_numpy()),
        image=rows["image_id"].map(place).to_numpy(dtype=np.int64),
        cell=(rows["row"] * bundle.grid[1] + rows["col"]).to_numpy(dtype=np.int64),
        p=len(codes),
    )


def _of_patches(subject: Subject, name: str, patches: Patches, placed: PlacedParts) -> dict[str, Any]:
    share = _object_share(placed)
    mean = mean_object_share(patches, share)
    beside = np.bincount(patches.owner, off(share[patches.image, patches.cell]), minlength=patches.p)
    return {
        "patches_off": _ratio(subject, f"{name}-patches", ratio_of(beside, patches.counts), patches.p),
        "prototypes_off": subject.estimate(f"{name}-prototypes", np.where(np.isnan(mean), np.nan, off(mean))),
        "object_share": subject.estimate(f"{name}-object", mean),
        "same_part": subject.estimate(f"{name}-same", purity(patches, placed).purity),
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


def _table(subject: Subject, box: str, shown: Patches, placed: PlacedParts) -> pd.DataFrame:
    """One row for each prototype."""
    found = purity(shown, placed)
    share, (rows, cols) = _object_share(placed), subject.bundle.grid
    height, width = subject.bundle.backbone.preprocessing.crop
    names = np.array([*placed.names, ""], dtype=object)
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
