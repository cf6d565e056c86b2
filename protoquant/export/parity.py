"""Check the parity of an exported model and the model it came from, on the golden images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from protoquant.core.artifacts import rounded
from protoquant.core.errors import ProtoQuantError
from protoquant.export.golden import Golden
from protoquant.export.outputs import Outputs, Run
from protoquant.model.classifier import Model
from protoquant.model.presence import look

TOLERANCE = 1e-4
"""Largest difference allowed: of a share, and of a logit relative to max(1, logit); rounding stays below 2e-5."""
DECIMALS = 5


class ExportError(ProtoQuantError):
    """An exported model does not answer as the model it was made from."""


@dataclass(frozen=True)
class Parity:
    """The differences between an exported model and its origin.

    Differences up to the tolerance count as rounding: of two cells or classes whose values are equal up to the
    tolerance, either is right.

    Attributes:
        images: Number of golden images compared.
        tolerance: Largest difference allowed.
        logits: Largest difference of a logit.
        relative: Largest difference of a logit relative to max(1, logit); this is compared with the tolerance.
        scores: Largest difference of a presence.
        maps: Largest difference of a share at a cell.
        cells: Largest loss of presence, in the original model, when its cell is replaced by the exported one.
        labels: Largest loss of logit, relative to the image's largest max(1, logit), if its label is the exported one.
        other_cells: Number of cells that differ at all.
        other_labels: Number of labels that differ at all.
        worst: Golden image of each largest difference, by the name of the difference.
    """

    images: int
    tolerance: float
    logits: float
    relative: float
    scores: float
    maps: float
    cells: float
    labels: float
    other_cells: int
    other_labels: int
    worst: Mapping[str, str] = field(default_factory=dict)

    @property
    def failure(self) -> str | None:
        """A clause that names a difference above the tolerance; None if there is none."""
        for name in ("relative", "scores", "maps", "cells", "labels"):
            found = getattr(self, name)
            if not found <= self.tolerance:
                output = "logits" if name == "relative" else name
                return (
                    f"{output} of golden image {self.worst[name]!r} differ by {found:.3g}, allowed {self.tolerance:g}"
                )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded so that differences between machines seldom show."""
        names = ("images", "tolerance", "logits", "scores", "maps", "other_cells", "other_labels")
        plain: dict[str, Any] = rounded({name: getattr(self, name) for name in names}, DECIMALS)
        return plain


@torch.inference_mode()
def compare(model: Model, run: Run, golden: Iterable[Golden], tolerance: float = TOLERANCE) -> Parity:
    """Compare an exported model with its origin, image by image and in a batch.

    Args:
        model: The original model; it is only read.
        run: The exported model.
        golden: The images that both models get.
        tolerance: Largest difference allowed.
    """
    worst: dict[str, tuple[float, str]] = {}
    images = other_cells = other_labels = 0
    for each in golden:
        found, cells, labels = _differences(model, run, each)
        for name, value in found.items():
            # NaN counts as the largest difference and is not replaced by a later one
            if name not in worst or not (math.isnan(worst[name][0]) or value <= worst[name][0]):
                worst[name] = (value, each.name)
        images, other_cells, other_labels = images + len(each.images), other_cells + cells, other_labels + labels
    largest = {name: value for name, (value, _) in worst.items()}
    return Parity(
        images=images,
        tolerance=tolerance,
        **largest,
        other_cells=other_cells,
        other_labels=other_labels,
        worst={name: image for name, (_, image) in worst.items()},
    )


def _differences(model: Model, run: Run, golden: Golden) -> tuple[dict[str, float], int, int]:
    """The largest differences, and how many cells and labels differ."""
    outputs = Outputs(*run(golden.images))
    mine = torch.tensor([one.logits for one in model.predict(list(golden.images))], dtype=torch.float64)
    batch = model.backbone.batch([Image.fromarray(image) for image in golden.images])
    seen = look(model.backbone.features(batch).tokens, model.codebook, model.bundle.temperature)
    prototypes = model.bundle.prototypes
    shares = seen.shares.cpu()[:, :, prototypes]
    scores, own = shares.max(dim=1)
    theirs, places = torch.from_numpy(outputs.logits).double(), torch.from_numpy(outputs.cells)
    taken = places[..., 0] * model.bundle.grid[1] + places[..., 1]
    scale = mine.abs().clamp_min(1.0)
    apart = (theirs - mine).abs()
    return (
        {
            "logits": float(apart.max()),
            "relative": float((apart / scale).max()),
            "scores": float((torch.from_numpy(outputs.scores) - scores).abs().max()),
            "maps": float((torch.from_numpy(outputs.maps).flatten(2).mT - shares).abs().max()),
            "cells": _given_up(shares.movedim(1, 2), taken),
            "labels": _given_up(mine / scale.amax(dim=1, keepdim=True), theirs.argmax(dim=1)),
        },
        int((taken != own).sum()),
        int((theirs.argmax(dim=1) != mine.argmax(dim=1)).sum()),
    )


def _given_up(values: Float[Tensor, "*any m"], taken: Int64[Tensor, "*any"]) -> float:
    """The largest excess of the maximum over the value taken; infinite if an index is out of range."""
    if not bool(((taken >= 0) & (taken < values.shape[-1])).all()):
        return float("inf")
    return float((values.amax(dim=-1) - values.gather(-1, taken[..., None])[..., 0]).max())
