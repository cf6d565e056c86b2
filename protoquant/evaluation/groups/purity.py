"""Purity of prototypes by annotated parts, with the fixed box, with the cell, and in PIP-Net's own view of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from protoquant.core.seeding import numpy_generator
from protoquant.evaluation.metrics.purity import LEAST, Purity, holding, measured_prototypes, purity
from protoquant.evaluation.places.patches import Patches, sure_patches, top_patches
from protoquant.evaluation.places.placed_parts import PlacedParts, place_split
from protoquant.evaluation.places.whole_images import look_at_whole_images, whole_view
from protoquant.evaluation.subject import Measured, Subject

TABLE = "purity.csv"
WHOLE = "whole"


@dataclass(frozen=True)
class Case:
    """One choice of patches with one kind of box, and what is found there.

    Attributes:
        found: Purity as PIP-Net defines it.
        least: Purity by parts that are visible in at least five patches.
        random: Purity of the same images where cells are drawn at random.
        random_least: The same by parts that are visible in at least five patches.
        anywhere: Purity of as many patches drawn from all images.
        holding: Share of each prototype's patches that hold any part.
        holding_random: The same where cells are drawn at random.
    """

    found: Purity
    least: Purity
    random: Purity
    random_least: Purity
    anywhere: Purity
    holding: Float[np.ndarray, " p"]
    holding_random: Float[np.ndarray, " p"]

    @classmethod
    def of(cls, patches: Patches, placed: PlacedParts, seed: int, name: str) -> Case:
        """Measure patches; what is drawn does not depend on the kind of box."""
        n, t, _ = placed.hits.shape
        cells = patches.random_cells(t, numpy_generator(seed, "evaluate", f"{name}-cells"))
        anywhere = patches.random_patches(n, t, numpy_generator(seed, "evaluate", f"{name}-patches"))
        return cls(
            found=purity(patches, placed),
            least=purity(patches, placed, LEAST),
            random=purity(cells, placed),
            random_least=purity(cells, placed, LEAST),
            anywhere=purity(anywhere, placed),
            holding=holding(patches, placed),
            holding_random=holding(cells, placed),
        )

    def numbers(self, subject: Subject, name: str) -> dict[str, Any]:
        """All numbers, with intervals over prototypes."""

        def mean(of: str, values: Float[np.ndarray, " p"] | None) -> dict[str, Any] | None:
            return None if values is None else subject.estimate(f"{name}-{of}", values)

        return {
            "mean": mean("mean", self.found.purity),
            "std": self.found.std,
            "prototypes": len(self.found.known),
            "related": self.found.related,
            "most": mean("most", self.found.most),
            "filled": mean("filled", self.found.filled),
            "min_count": {
                "least": LEAST,
                "mean": mean("least", self.least.purity),
                "prototypes": len(self.least.known),
                "random_cells": mean("random-least", self.random_least.purity),
            },
            "random_cells": mean("random-cells", self.random.purity),
            "random_patches": mean("random-patches", self.anywhere.purity),
            "holding": mean("holding", self.holding),
            "holding_random": mean("holding-random", self.holding_random),
        }

    def table(self, parts: tuple[str, ...]) -> pd.DataFrame:
        """One row for each prototype."""
        names = np.array([*parts, ""], dtype=object)
        filled = {} if self.found.filled is None else {"filled": self.found.filled}
        return pd.DataFrame(
            {
                "part": names[self.found.part],
                "purity": self.found.purity,
                "n": self.found.n,
                "hits": self.found.hits,
                "most": self.found.most,
                **filled,
                "min_count": LEAST,
                "min_count_part": names[self.least.part],
                "min_count_purity": self.least.purity,
                "min_count_n": self.least.n,
                "random_cells": self.random.purity,
            }
        )


def measure(subject: Subject, split: str) -> Measured:
    """Measure the purity of every prototype on a split."""
    prototypes = measured_prototypes(subject.head)
    height, width = subject.bundle.backbone.preprocessing.crop
    rows, cols = subject.bundle.grid
    numbers, tables = {}, []
    for box, mode, placed, (top, sure) in _cases(subject, split, prototypes):
        name = f"purity-{split}-{mode}"
        best = Case.of(top, placed, subject.seed, name)
        every = Case.of(sure, placed, subject.seed, f"{name}-all")
        numbers[box] = {**best.numbers(subject, name), "all": every.numbers(subject, f"{name}-all")}
        table = best.table(placed.names).assign(all_purity=every.found.purity, all_patches=sure.counts)
        place = {"code": prototypes, "box": box, "grid": f"{rows}x{cols}", "view": f"{height}x{width} {mode}"}
        tables.append(pd.concat([pd.DataFrame(place, index=table.index), table], axis=1))
    return Measured(numbers, {TABLE: pd.concat(tables, ignore_index=True)})


def _cases(
    subject: Subject, split: str, prototypes: Int[np.ndarray, " p"]
) -> Iterator[tuple[str, str, PlacedParts, tuple[Patches, Patches]]]:
    """Each kind of box with the mode of the view, the parts, and the best and the sure patches."""
    bundle, mirrored = subject.bundle, subject.parts.schema.mirrored
    seen, places = subject.sightings(split), subject.places(split)
    chosen = _patches(seen.scores[places.positions], seen.cells[places.positions], prototypes)
    for box, placed in places.boxes.items():
        yield box, bundle.backbone.preprocessing.mode, placed.merged(mirrored), chosen
    if subject.config.purity_whole:
        whole, view = look_at_whole_images(subject, split), whole_view(bundle.backbone.preprocessing)
        places = place_split(subject.part_view(split, view), whole.image_ids, bundle.grid, subject.on_event)
        chosen = _patches(whole.scores[places.positions], whole.cells[places.positions], prototypes)
        yield WHOLE, f"whole {view.mode}", places.boxes["fixed"].merged(mirrored), chosen


def _patches(
    scores: Float[np.ndarray, "n k"], cells: Int[np.ndarray, "n k"], prototypes: Int[np.ndarray, " p"]
) -> tuple[Patches, Patches]:
    scores, cells = scores[:, prototypes], cells[:, prototypes]
    return top_patches(scores, cells), sure_patches(scores, cells)
