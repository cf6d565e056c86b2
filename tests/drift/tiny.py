"""A real bundle of a tiny backbone with random weights, its reference made from drawn pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from protoquant.codebook.codebook import Codebook
from protoquant.features.backbone import Backbone
from protoquant.head.presence import presence
from protoquant.head.reference import BINS, Reference
from tests import tiny
from tests.tiny import CLASSES, HEAD, bundle_of, load_backbone, write_bundle

TEMPERATURE = 0.05


def picture(seed: int, width: int = 64, height: int = 56) -> Image.Image:
    return Image.fromarray(tiny.picture(seed, width, height))


def make_bundle(
    folder: Path, classes: Sequence[str] = CLASSES, *, reference: bool = True, below: float | None = 4.6
) -> Path:
    """Six codes are patches of one picture, five of them are used; written by hand, as train would."""
    backbone = load_backbone(folder)
    bundle = bundle_of(backbone, np.asarray(picture(7)), classes=tuple(classes))
    if reference:
        bundle = replace(bundle, reference=_reference(backbone, bundle.codebook, below))
    return write_bundle(folder / "bundle", bundle)


def _reference(backbone: Backbone, codebook: Codebook, below: float | None) -> Reference:
    """Sixty drawn pictures are train, forty others validation."""
    counts, logits = {}, torch.empty(0)
    for split, seeds in (("train", range(1000, 1060)), ("validation", range(2000, 2040))):
        tokens = backbone.features(backbone.batch([picture(seed) for seed in seeds])).tokens
        scores = presence(tokens, codebook, TEMPERATURE).scores
        counts[split] = histograms(scores[:, :5].numpy())
        logits = scores.double() @ HEAD.double().T
    n = len(logits)
    answers = pd.DataFrame(
        {
            "image_id": [f"validation/{row}.png" for row in range(n)],
            "label": np.arange(n) % 3,
            "predicted": logits.argmax(dim=1).numpy(),
            "probability": torch.softmax(logits, dim=1).amax(dim=1).numpy().round(6),
            "logit": logits.amax(dim=1).numpy().round(6),
        }
    )
    return Reference(answers, tuple(range(5)), counts, below, {"tokens": 1.0})


def histograms(scores: np.ndarray) -> np.ndarray:
    """Images by prototype and bin, counted one by one."""
    counts = np.zeros((scores.shape[1], BINS), dtype=np.int64)
    for row in scores:
        for code, score in enumerate(row):
            counts[code, min(int(score * BINS), BINS - 1)] += 1
    return counts


def draw(folder: Path, seeds: Sequence[int]) -> list[str]:
    """Pictures as files in two folders; their names, sorted."""
    names = [f"{'ab'[seed % 2]}/{seed:04d}.png" for seed in seeds]
    for name, seed in zip(names, seeds, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / name)
    return sorted(names)
