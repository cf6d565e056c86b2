"""Small bundles made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.core.artifacts import writing
from protoquant.features.preprocessing import Preprocessing
from protoquant.features.spec import BackboneSpec, WeightsSpec
from protoquant.head.bundle import CROPS, KIND, Bundle
from protoquant.head.provenance import COLUMNS, crop_name
from protoquant.head.reference import BINS, Reference

PREPROCESSING = Preprocessing.from_dict(
    {
        "resize": [64, 64],
        "crop": [64, 64],
        "mode": "center",
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
)
CLASSES = ("owl", "wren", "kite")


def spec(name: str = "test_convnext", digest: str = "a" * 64) -> BackboneSpec:
    return BackboneSpec(name, WeightsSpec("packaged", digest), PREPROCESSING)


def turned(*degrees: float, d: int = 4) -> torch.Tensor:
    """Unit codes in a plane, at these angles."""
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    codes = torch.zeros(len(degrees), d, dtype=torch.float64)
    codes[:, 0], codes[:, 1] = angles.cos(), angles.sin()
    return codes.float()


def provenance(codes, patches) -> pd.DataFrame:
    """patches: for each code a list of (image_id, row, col)."""
    rows = [
        {
            "code": code,
            "rank": rank,
            "image_id": image,
            "label": 0,
            "row": row,
            "col": col,
            "cosine": 0.9 - 0.1 * rank,
        }
        for code, of_code in zip(codes, patches, strict=True)
        for rank, (image, row, col) in enumerate(of_code)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def made(
    codes: torch.Tensor,
    head: torch.Tensor,
    predicted=None,
    *,
    labels=(0, 0, 1, 1, 2, 2),
    ids=None,
    classes=CLASSES,
    patches=None,
    backbone: BackboneSpec | None = None,
    norm: FeatureNorm | None = None,
    params=None,
    abstain_below=None,
) -> Bundle:
    """A bundle; without answers (predicted None) it is one of an older version."""
    bundle = Bundle(
        codebook=Codebook(codes, norm or FeatureNorm("l2")),
        head=head,
        temperature=0.05,
        classes=tuple(classes),
        grid=(4, 4),
        backbone=backbone or spec(),
        params=params or {"train": {"crop_context": 1.0, "budget": {"sizes": [1, 2]}}},
        provenance=pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS),
        metrics={"validation": {"n": 6, "top1": 0.5}},
    )
    used = bundle.prototypes.tolist()
    patches = patches or [[(f"train/{code}.png", 0, 0), (f"train/{code}b.png", 1, 1)] for code in used]
    bundle = replace(bundle, provenance=provenance(used, patches))
    if predicted is None:
        return bundle
    answers = pd.DataFrame(
        {
            "image_id": list(ids or [f"validation/{number}.png" for number in range(len(labels))]),
            "label": np.array(labels, dtype=np.int64),
            "predicted": np.array(predicted, dtype=np.int64),
            "probability": 0.75,
            "logit": 2.0,
        }
    )
    counts = np.zeros((len(used), BINS), dtype=np.int64)
    counts[:, 0], counts[:, -1] = 3, 1
    health = {"usage": 0.5, "perplexity": 3.25, "quantization_error": 0.4}
    reference = Reference(answers, tuple(used), {"train": counts, "validation": counts.copy()}, abstain_below, health)
    return replace(bundle, reference=reference)


def written(bundle: Bundle, out: Path, crops: int = 0) -> Bundle:
    """The same bundle, saved and opened again, with pictures of its patches."""
    with writing(out, KIND) as folder:
        bundle.save(folder, pd.DataFrame({"selected": [1]}))
        if crops:
            (folder / CROPS).mkdir()
            for code in bundle.prototypes.tolist():
                for rank in range(crops):
                    colour = (40 * code % 256, 80 * rank % 256, 120)
                    Image.new("RGB", (96, 96), colour).save(folder / CROPS / crop_name(code, rank))
    return Bundle.open(out)
