"""The backbone as a function that can be differentiated by its input, for attacks on an image's pixels."""

from inspect import unwrap

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.features.backbone.backbone import Backbone
from protoquant.features.tokens import PatchTokens


def differentiable_tokens(backbone: Backbone, images: Float[Tensor, "n 3 h w"]) -> PatchTokens:
    """Patch tokens as :meth:`Backbone.features` computes them, but outside its inference mode.

    No weight of the backbone takes part in the gradient: its parameters stay frozen.

    Args:
        backbone: The frozen backbone.
        images: Normalised images of the crop's size on its device; they may require a gradient.

    Returns:
        Tokens that lead back to the images.

    Raises:
        ShapeError: The images are not of the crop's size.
    """
    # features is the only reader of the backbone's layout, and the keys of stored shards depend on its source.
    features = unwrap(Backbone.features)
    with torch.inference_mode(mode=False), torch.enable_grad():
        tokens: PatchTokens = features(backbone, images).tokens
    return tokens
