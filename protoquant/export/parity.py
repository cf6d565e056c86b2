"""Parity: an exported model and the model it came from, on the golden images."""

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
"""Largest difference allowed, of a presence, and of a logit in shares of max(1, logit); rounding stays below 2e-5."""
DECIMALS = 5


class ExportError(ProtoQuantError):
    """An exported model does not answer as the model it was made from."""


@dataclass(frozen=True)
class Parity:
    """How far an exported model is from its origin.

    A logit, a presence, a cell or a label that differs by no more than rounding does is the same: of two cells or
    classes that are equal up to the tolerance, either is right.

    Attributes:
        images: Golden images compared.
        tolerance: Largest difference allowed.
        logits: Largest difference of a logit.
        relative: The same in shares of max(1, logit); this is held against the tolerance.
        scores: Largest difference of a presence.
        cells: Largest presence that the model gives up by taking the exported cell in place of its own.
        labels: Largest logit, in shares of max(1, logit), that it gives up by taking the exported label.
        other_cells: Cells that differ at all.
        other_labels: Labels that differ at all.
        worst: Golden image of each largest difference, by the name of the difference.
    """

    images: int
    tolerance: float
    logits: float
    relative: float
    scores: float
    cells: float
    labels: float
    other_cells: int
    other_labels: int
    worst: Mapping[str, str] = field(default_factory=dict)

    @property
    def failure(self) -> str | None:
        """What differs by more than allowed, in one clause; None where nothing does."""
        for name in ("relative", "scores", "cells", "labels"):
            found = getattr(self, name)
            if not found <= self.tolerance:
                output = "logits" if name == "relative" else name
                return (
                    f"{output} of golden image {self.worst[name]!r} differ by {found:.3g}, allowed {self.tolerance:g}"
                )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded so far that another machine's rounding seldom shows."""
        names = ("images", "tolerance", "logits", "scores", "other_cells", "other_labels")
        plain: dict[str, Any] = rounded({name: getattr(self, name) for name in names}, DECIMALS)
        return plain


@torch.inference_mode()
def compare(model: Model, run: Run, golden: Iterable[Golden], tolerance: float = TOLERANCE) -> Parity:
    """Hold an exported model against the model, image by image and in a batch.

    Args:
        model: Only read.
        run: The exported model.
        golden: What both are shown.
        tolerance: Largest difference allowed.
    """
    worst: dict[str, tuple[float, str]] = {}
    images = other_cells = other_labels = 0
    for each in golden:
        found, cells, labels = _differences(model, run, each)
        for name, value in found.items():
            # NaN counts as the largest difference, also beside what comes after it
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
            "cells": _given_up(shares.movedim(1, 2), taken),
            "labels": _given_up(mine / scale.amax(dim=1, keepdim=True), theirs.argmax(dim=1)),
        },
        int((taken != own).sum()),
        int((theirs.argmax(dim=1) != mine.argmax(dim=1)).sum()),
    )


def _given_up(values: Float[Tensor, "*any m"], taken: Int64[Tensor, "*any"]) -> float:
    """By how much the largest value exceeds the one that was taken; infinite where that is none of them."""
    if not bool(((taken >= 0) & (taken < values.shape[-1])).all()):
        return float("inf")
    return float((values.amax(dim=-1) - values.gather(-1, taken[..., None])[..., 0]).max())
