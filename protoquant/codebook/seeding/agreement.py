"""Agreement: which of a class's codes stand for patches that look alike."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.nearest_images import nearest_patches
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.codebook.tokens import TokenSource

IMAGES = 10
"""Images of the class whose patches must agree; as many as purity looks at."""


def agreeing(
    codes: Float[Tensor, "k d"], images: TokenSource, norm: FeatureNorm | LayerSpace, *, keep: int, batch: int
) -> Int64[Tensor, " r"]:
    """Find the codes of a class that are nearest to their nearest patches.

    A code between patches that differ, of which one is a part and another what lies behind it, is far from all of them.

    Args:
        codes: The codes of the class, of any length, on the device to compute on.
        images: Train images of the class.
        norm: Map from tokens to the space of the codes.
        keep: Number of codes to keep.
        batch: Tokens per step.

    Returns:
        The codes with the largest mean cosine with the nearest patch of each of the ``IMAGES`` images nearest to them
        (of all, if the class has fewer), in their order; the lower code wins ties.
    """
    if keep >= len(codes):
        return torch.arange(len(codes))
    units = torch.nn.functional.normalize(codes, dim=1)
    found = nearest_patches(images, norm, units, min(IMAGES, images.n), batch)
    nearness = found.cosines.double().mean(dim=1).cpu()
    return nearness.argsort(descending=True, stable=True)[:keep].sort().values
