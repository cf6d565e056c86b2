"""Changes of an image outside a box that aim at one prototype: noise, and projected gradient descent."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.differentiable import differentiable_tokens

RADIUS = 0.4
"""Largest change of a pixel, in units of the normalised input."""
STEP = 0.01
ITERATIONS = 40


@dataclass(frozen=True)
class Target:
    """What an attack changes, and what it must leave.

    Attributes:
        image: The normalised image, on the backbone's device.
        outside: 1 where a pixel may change, else 0 (h, w).
        code: The code to attack, in [0, k).
    """

    image: Float[Tensor, "1 3 h w"]
    outside: Float[Tensor, "h w"]
    code: int


def uniform_noise(target: Target, generator: torch.Generator) -> Float[Tensor, "1 3 h w"]:
    """Add uniform noise outside the box; like the published attack, it is not clipped to valid pixels.

    Args:
        target: The image; its code does not matter.
        generator: The only source of randomness, on the CPU.
    """
    return target.image + _start(target, generator) * target.outside.to(target.image.device)


def descend(
    target: Target,
    backbone: Backbone,
    codebook: Codebook,
    generator: torch.Generator,
    *,
    iterations: int = ITERATIONS,
) -> Float[Tensor, "1 3 h w"]:
    """Lower the largest cosine of a code with any cell, by projected gradient descent on the pixels outside the box.

    It starts anywhere within ``RADIUS``, takes steps of ``STEP`` by the sign of the gradient, and stays within the
    radius and among valid pixels.

    Args:
        target: The image and the code.
        backbone: The frozen backbone.
        codebook: Codes on the backbone's device.
        generator: The only source of randomness, on the CPU.
        iterations: Number of steps.

    Returns:
        Of the start and all steps, the image of the lowest cosine.
    """
    image, outside = target.image, target.outside.to(target.image.device)
    low, high = _valid(backbone)
    low, high = torch.maximum(low, image - RADIUS), torch.minimum(high, image + RADIUS)
    one = codebook.only(torch.tensor([target.code]))

    def allowed(moved: Tensor) -> Tensor:
        return torch.where(outside > 0, moved.clamp(low, high), image)

    moved = allowed(image + _start(target, generator))
    best, lowest = moved, torch.inf
    for step in range(iterations + 1):
        moved = moved.detach().requires_grad_()
        found = one.similarity(differentiable_tokens(backbone, moved)).amax()
        if float(found.detach()) < lowest:
            best, lowest = moved.detach(), float(found.detach())
        if step < iterations:
            (slope,) = torch.autograd.grad(found, moved)
            moved = allowed(moved.detach() - STEP * slope.sign())
    return best


def _start(target: Target, generator: torch.Generator) -> Float[Tensor, "1 3 h w"]:
    drawn = torch.rand(target.image.shape, generator=generator)
    return (drawn.to(target.image.device) * 2 - 1) * RADIUS


def _valid(backbone: Backbone) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """The normalised values of black and white."""
    scale = backbone.spec.preprocessing
    mean, std = (torch.tensor(part, device=backbone.device)[:, None, None] for part in (scale.mean, scale.std))
    return -mean / std, (1 - mean) / std
