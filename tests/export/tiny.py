"""A bundle of random weights on a tiny timm model, written by hand as train would."""

from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.rest import Rest
from protoquant.core.artifacts import writing
from protoquant.features.backbone import Backbone
from protoquant.features.config import ExtractConfig
from protoquant.head.bundle import KIND, Bundle
from protoquant.head.nearest import Nearest
from protoquant.head.provenance import COLUMNS

CLASSES = ("auk", "bee-eater", "crane")
HEAD = torch.tensor([[2.0, 1.0, 0, 0, 0, 0], [0, 0, 3.0, 0.5, 0, 0], [0.7, 0, 0, 0, 4.0, 0]])


def picture(seed: int, width: int = 200, height: int = 180) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def write_bundle(folder: Path, backbone: str, norm: str = "l2", *, rest: bool = False) -> Path:
    """Six codes, of which the head uses five; with ``rest`` the sixth becomes a rest code."""
    torch.manual_seed(0)
    weights = folder / f"{backbone}.safetensors"
    save_file(timm.create_model(backbone).state_dict(), weights)
    frozen = Backbone.load(ExtractConfig(backbone=backbone, weights="file", weights_file=str(weights)), "cpu")
    tokens = frozen.features(frozen.batch([Image.fromarray(picture(7))])).tokens
    space = feature_norm(norm, tokens.flatten(0, 1))
    cells = torch.linspace(0, tokens.shape[1] - 1, 6).long()
    codebook, head = Codebook(torch.nn.functional.normalize(space.units(tokens[0, cells])), space), HEAD
    if rest:
        codebook, head = codebook.only(torch.arange(5), Rest(codebook.codes[5:], torch.ones(1))), HEAD[:, :5].clone()
    best = Nearest.empty(codebook.k, 1, torch.device("cpu")).with_images(codebook.similarity(tokens), 0)
    rows = [
        {
            "code": code,
            "rank": 0,
            "image_id": "train/a.png",
            "label": 1,
            "row": int(best.cells[code, 0]) // frozen.grid[1],
            "col": int(best.cells[code, 0]) % frozen.grid[1],
            "cosine": float(best.cosines[code, 0]),
        }
        for code in range(5)
    ]
    bundle = Bundle(
        codebook=codebook,
        head=head,
        temperature=0.05,
        classes=CLASSES,
        grid=frozen.grid,
        backbone=frozen.spec,
        params={},
        provenance=pd.DataFrame(rows).astype(COLUMNS),
        metrics={},
    )
    out = folder / f"{backbone}-bundle"
    with writing(out, KIND) as aside:
        bundle.save(aside, pd.DataFrame({"selected": [1]}))
        (aside / "crops").mkdir()
        Image.fromarray(picture(8, 60, 60)).save(aside / "crops" / "00000-0.png")
    return out


def feature_norm(name: str, tokens: torch.Tensor) -> FeatureNorm:
    """A feature space that fits the tokens, with a mean and a matrix that are not trivial where it has them."""
    if name == "center_l2":
        return FeatureNorm(name, torch.nn.functional.normalize(tokens, dim=-1).mean(dim=0))
    if name == "whiten":
        matrix = torch.diag(torch.linspace(0.5, 2.0, tokens.shape[1]))
        return FeatureNorm(name, tokens.mean(dim=0), matrix, torch.linalg.inv(matrix))
    return FeatureNorm(name)
