"""True models: bundles over a tiny backbone with random weights, their codes taken from a picture."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from protoquant.codebook.codebook import Codebook, Space
from protoquant.codebook.nearest_images import NearestImages
from protoquant.codebook.rest_codes import Rest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import fit_layer_space
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.tokens import LayeredTokens, PatchTokens
from protoquant.model.bundle import Bundle
from protoquant.model.presence import presence
from protoquant.model.reference import Reference
from tests.builders.backbones import load_backbone
from tests.builders.bundles import CLASSES, bundle, write_bundle
from tests.builders.pictures import small
from tests.builders.references import histograms, reference

HEAD = torch.tensor([[2.0, 1.0, 0, 0, 0, 0], [0, 0, 3.0, 0.5, 0, 0], [0.7, 0, 0, 0, 4.0, 0]])
TEMPERATURE = 0.05


def bundle_of(
    backbone: Backbone,
    image: Image.Image,
    norm: str = "l2",
    classes: Sequence[str] = CLASSES,
    *,
    rest: bool = False,
) -> Bundle:
    """Six codes, patches of one picture; the head uses five, with ``rest`` the sixth becomes a rest code."""
    tokens = backbone.features(backbone.batch([image])).tokens
    space = _space(norm, tokens)
    cells = torch.linspace(0, tokens.shape[1] - 1, 6).long()
    codebook, head = Codebook(torch.nn.functional.normalize(space.units(tokens)[0, cells]), space), HEAD
    if rest:
        codebook, head = codebook.only(torch.arange(5), Rest(codebook.codes[5:], torch.ones(1))), HEAD[:, :5].clone()
    best = NearestImages.empty(codebook.k, 1, torch.device("cpu")).with_images(codebook.similarity(tokens), 0)
    patches = [
        (code, 0, "train/a.png", 1, *divmod(int(best.cells[code, 0]), backbone.grid[1]), float(best.cosines[code, 0]))
        for code in range(5)
    ]
    return bundle(
        codebook,
        head,
        temperature=TEMPERATURE,
        classes=classes,
        grid=backbone.grid,
        backbone=backbone.spec,
        patches=patches,
    )


def _space(norm: str, tokens: PatchTokens) -> Space:
    if isinstance(tokens, LayeredTokens):
        weights = (*[1.5] * (len(tokens.maps) - 1), 1.0)
        return fit_layer_space(lambda: [tokens], weights, torch.device("cpu"))
    return feature_norm(norm, tokens.flatten(0, 1))


def feature_norm(name: str, tokens: torch.Tensor) -> FeatureNorm:
    """A feature space that fits the tokens, with a mean and a matrix that are not trivial where it has them."""
    if name == "center_l2":
        return FeatureNorm(name, torch.nn.functional.normalize(tokens, dim=-1).mean(dim=0))
    if name == "whiten":
        matrix = torch.diag(torch.linspace(0.5, 2.0, tokens.shape[1]))
        return FeatureNorm(name, tokens.mean(dim=0), matrix, torch.linalg.inv(matrix))
    return FeatureNorm(name)


def write_model(
    folder: Path, classes: Sequence[str] = CLASSES, *, measured: bool = True, below: float | None = 4.6
) -> Path:
    """Weights and a bundle with its reference, unless it is not measured; returns the bundle."""
    backbone = load_backbone(folder)
    made = bundle_of(backbone, small(7), classes=classes)
    if measured:
        made = replace(made, reference=_reference(backbone, made.codebook, below))
    return write_bundle(folder / "bundle", made)


def _reference(backbone: Backbone, codebook: Codebook, below: float | None) -> Reference:
    """Sixty drawn pictures are train, forty others validation."""
    seen, logits = {}, torch.empty(0)
    for split, seeds in (("train", range(1000, 1060)), ("validation", range(2000, 2040))):
        tokens = backbone.features(backbone.batch([small(seed) for seed in seeds])).tokens
        scores = presence(tokens, codebook, TEMPERATURE).scores
        seen[split] = histograms(scores[:, :5].numpy())
        logits = scores.double() @ HEAD.double().T
    return reference(
        range(5),
        logits.argmax(dim=1).numpy(),
        np.arange(len(logits)) % 3,
        probability=torch.softmax(logits, dim=1).amax(dim=1).numpy().round(6),
        logit=logits.amax(dim=1).numpy().round(6),
        presence=seen,
        below=below,
        health={"tokens": 1.0},
    )
