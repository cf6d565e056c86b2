"""Bundles and the parts of them, made by hand as train would; no backbone is loaded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.artifacts import writing
from protoquant.features.backbone.spec import BackboneSpec
from protoquant.model.bundle import CROPS, KIND, Bundle
from protoquant.model.provenance import COLUMNS, RANKS, crop_name
from protoquant.model.reference import Reference
from tests.builders.pictures import picture
from tests.builders.references import reference
from tests.builders.specs import spec

BIRDS = ("owl", "wren", "kite")
CLASSES = ("auk", "bee-eater", "crane")
SELECTED = pd.DataFrame({"selected": [1]})
Place = tuple[str, int, int]
Patch = tuple[int, int, str, int, int, int, float]


def plain_probe(weight: Tensor, bias: Tensor | None = None) -> LinearProbe:
    """A probe on tokens as they are: mean 0, scale 1."""
    c, d = weight.shape
    return LinearProbe(weight, torch.zeros(c) if bias is None else bias, torch.zeros(d), torch.ones(d))


def provenance(patches: Iterable[Patch]) -> pd.DataFrame:
    """The table of patches; each is (code, rank, image_id, label, row, col, cosine)."""
    return pd.DataFrame(list(patches), columns=list(COLUMNS)).astype(COLUMNS)


def nearest(prototypes: Sequence[int], places: Sequence[Sequence[Place]], cosine: float = 0.9) -> list[Patch]:
    """For each prototype patches at (image_id, row, col); the cosine falls by a tenth with each rank."""
    return [
        (code, rank, image_id, 0, row, col, cosine - rank / 10)
        for code, of_code in zip(prototypes, places, strict=True)
        for rank, (image_id, row, col) in enumerate(of_code)
    ]


def bundle(
    codes: Tensor | Codebook,
    head: Tensor,
    *,
    norm: FeatureNorm | None = None,
    classes: Sequence[str] = CLASSES,
    patches: Iterable[Patch] | None = None,
    temperature: float = 0.1,
    grid: tuple[int, int] = (2, 3),
    backbone: BackboneSpec | None = None,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    measured: Reference | None = None,
) -> Bundle:
    """A bundle of as many classes as the head has; each prototype has one patch unless patches are given."""
    used = (head > 0).any(dim=0).nonzero().flatten().tolist()
    return Bundle(
        codebook=codes if isinstance(codes, Codebook) else Codebook(codes, norm or FeatureNorm("l2")),
        head=head,
        temperature=temperature,
        classes=tuple(classes[: len(head)]),
        grid=grid,
        backbone=backbone or spec(),
        params=params or {},
        provenance=provenance(
            [(code, 0, "train/a.png", 1, 0, 0, 0.9) for code in used] if patches is None else patches
        ),
        metrics=metrics or {},
        reference=measured,
    )


def answering(
    codes: Tensor,
    head: Tensor,
    predicted: Sequence[int] | None = None,
    *,
    labels: Sequence[int] = (0, 0, 1, 1, 2, 2),
    ids: Sequence[str] | None = None,
    places: Sequence[Sequence[Place]] | None = None,
    below: float | None = None,
    **parts: Any,
) -> Bundle:
    """A bundle with its answers to six validation images; without answers it is one of an older version."""
    trained = {"train": {"crop_context": 1.0, "budget": {"sizes": [1, 2]}}}
    numbers = {"validation": {"n": 6, "top1": 0.5}}
    details = {"classes": BIRDS, "temperature": 0.05, "grid": (4, 4), "params": trained, "metrics": numbers}
    made = bundle(codes, head, **details | parts)
    used = made.prototypes.tolist()
    places = places or [[(f"train/{code}.png", 0, 0), (f"train/{code}b.png", 1, 1)] for code in used]
    health = {"usage": 0.5, "perplexity": 3.25, "quantization_error": 0.4}
    said = None if predicted is None else reference(used, predicted, labels, ids=ids, below=below, health=health)
    return replace(made, provenance=provenance(nearest(used, places)), reference=said)


def write_bundle(
    out: Path,
    made: Bundle,
    *,
    candidates: pd.DataFrame = SELECTED,
    crops: int = 0,
    inputs: Mapping[str, str] | None = None,
) -> Path:
    """The bundle as its writer saves it, with pictures of so many patches of each prototype."""
    with writing(out, KIND, inputs) as folder:
        made.save(folder, candidates)
        if crops:
            (folder / CROPS).mkdir()
        for code in made.prototypes.tolist():
            for rank in range(crops):
                picture(RANKS * code + rank, 60, 60).save(folder / CROPS / crop_name(code, rank))
    return out


def flip(file: Path) -> None:
    """Change the last byte of a file; its other names keep what they held."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.unlink()
    file.write_bytes(data)
