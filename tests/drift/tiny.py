"""A real bundle of a tiny backbone with random weights, its reference made from drawn pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.core.artifacts import writing
from protoquant.features.backbone import Backbone
from protoquant.features.config import ExtractConfig
from protoquant.head.bundle import KIND, Bundle
from protoquant.head.nearest import Nearest
from protoquant.head.presence import presence
from protoquant.head.provenance import COLUMNS
from protoquant.head.reference import BINS, Reference

CLASSES = ("auk", "bee-eater", "crane")
HEAD = torch.tensor([[2.0, 1.0, 0, 0, 0, 0], [0, 0, 3.0, 0.5, 0, 0], [0.7, 0, 0, 0, 4.0, 0]])
TEMPERATURE = 0.05


def picture(seed: int, width: int = 64, height: int = 56) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def make_bundle(
    folder: Path, classes: Sequence[str] = CLASSES, *, reference: bool = True, below: float | None = 4.6
) -> Path:
    """Six codes are patches of one picture, five of them are used; written by hand, as train would."""
    torch.manual_seed(0)
    weights = folder / "w.safetensors"
    save_file(timm.create_model("test_convnext").state_dict(), weights)
    backbone = Backbone.load(ExtractConfig(backbone="test_convnext", weights="file", weights_file=str(weights)), "cpu")
    tokens = backbone.features(backbone.batch([picture(7)])).tokens
    codes = tokens[0, torch.linspace(0, tokens.shape[1] - 1, 6).long()]
    codebook = Codebook(torch.nn.functional.normalize(codes), FeatureNorm("l2"))
    best = Nearest.empty(6, 1, torch.device("cpu")).with_images(codebook.similarity(tokens), 0)
    rows = [
        {
            "code": code,
            "rank": 0,
            "image_id": "train/a.png",
            "label": 1,
            "row": int(best.cells[code, 0]) // backbone.grid[1],
            "col": int(best.cells[code, 0]) % backbone.grid[1],
            "cosine": float(best.cosines[code, 0]),
        }
        for code in range(5)
    ]
    bundle = Bundle(
        codebook=codebook,
        head=HEAD,
        temperature=TEMPERATURE,
        classes=tuple(classes),
        grid=backbone.grid,
        backbone=backbone.spec,
        params={},
        provenance=pd.DataFrame(rows).astype(COLUMNS),
        metrics={},
    )
    if reference:
        bundle = replace(bundle, reference=_reference(backbone, codebook, below))
    out = folder / "bundle"
    with writing(out, KIND) as into:
        bundle.save(into, pd.DataFrame({"selected": [1]}))
    return out


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
