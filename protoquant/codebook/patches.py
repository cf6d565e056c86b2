"""Reads single patches as unit vectors of the space of the codes."""

from itertools import groupby

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.codebook.tokens import TokenSource


def read_patches(
    source: TokenSource,
    norm: FeatureNorm | LayerSpace,
    images: Int64[Tensor, "k m"],
    cells: Int64[Tensor, "k m"],
) -> Float[Tensor, "k m d"]:
    """Read patches as unit vectors on the CPU, reading each image once.

    Args:
        source: Source of the tokens.
        norm: Map from tokens to unit vectors.
        images: Positions of the patches' images; -1 for no patch, which gives zeros.
        cells: Grid cells of the patches, row by row.
    """
    flat, places = images.flatten(), cells.flatten()
    units = torch.zeros(len(flat), source.d)
    order = flat.argsort(stable=True).tolist()
    norm = norm.to(units.device)
    for image, group in groupby(order, key=flat.tolist().__getitem__):
        if image >= 0:
            rows = torch.tensor(list(group))
            units[rows] = norm.units(source.tokens(torch.tensor([image])))[0, places[rows]]
    return units.reshape(*images.shape, source.d)
