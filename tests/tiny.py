"""Bundles on tiny timm models with random weights, made by hand as train would."""

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


def load_backbone(folder: Path, name: str = "test_convnext") -> Backbone:
    """A timm model with random weights, the same each time, in a file of the folder."""
    torch.manual_seed(0)
    weights = folder / f"{name}.safetensors"
    save_file(timm.create_model(name).state_dict(), weights)
    return Backbone.load(ExtractConfig(backbone=name, weights="file", weights_file=str(weights)), "cpu")


def bundle_of(
    backbone: Backbone, image: np.ndarray, norm: str = "l2", classes: tuple[str, ...] = CLASSES, *, rest: bool = False
) -> Bundle:
    """Six codes, patches of one picture; the head uses five, with ``rest`` the sixth becomes a rest code."""
    tokens = backbone.features(backbone.batch([Image.fromarray(image)])).tokens
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
            "row": int(best.cells[code, 0]) // backbone.grid[1],
            "col": int(best.cells[code, 0]) % backbone.grid[1],
            "cosine": float(best.cosines[code, 0]),
        }
        for code in range(5)
    ]
    return Bundle(
        codebook=codebook,
        head=head,
        temperature=0.05,
        classes=classes,
        grid=backbone.grid,
        backbone=backbone.spec,
        params={},
        provenance=pd.DataFrame(rows).astype(COLUMNS),
        metrics={},
    )


def write_bundle(out: Path, bundle: Bundle, *, crop: bool = False) -> Path:
    """Write a bundle as train would, perhaps with the picture of one patch."""
    with writing(out, KIND) as aside:
        bundle.save(aside, pd.DataFrame({"selected": [1]}))
        if crop:
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
