"""What joint training moves: the codes themselves, or the weights of the train patches that they are made of."""

from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.mixture import Mixture
from protoquant.head.config import JointConfig


class MovingCodes(Protocol):
    """Codes as a function of one parameter."""

    @property
    def parameter(self) -> Tensor:
        """What the optimizer changes, in place."""

    @property
    def rate(self) -> float:
        """Its highest learning rate."""

    def units(self) -> Float[Tensor, "k d"]:
        """The present codes, differentiable by the parameter."""

    def codebook(self) -> Codebook:
        """The codebook of the present codes, detached."""


class FreeCodes:
    """Codes that may become any direction."""

    def __init__(self, start: Codebook, rate: float) -> None:
        self._start, self.rate = start, rate
        self.parameter = start.codes.clone().requires_grad_()

    def units(self) -> Float[Tensor, "k d"]:
        """The parameter's rows, made unit."""
        return normalize(self.parameter, dim=1)

    def codebook(self) -> Codebook:
        """The codebook of the present codes, detached."""
        return replace(self._start, codes=normalize(self.parameter.detach(), dim=1))


class MixtureCodes:
    """Codes that stay convex mixtures of their patches; the parameter holds the logits of the weights."""

    def __init__(self, start: Codebook, mixture: Mixture, rate: float) -> None:
        self._start, self._mixture, self.rate = start, mixture, rate
        # A weight of 0 has the logit -inf, which no gradient moves.
        self.parameter = mixture.weights.log().requires_grad_()

    def units(self) -> Float[Tensor, "k d"]:
        """The directions of the mixtures, from all weights."""
        return self._mixture.codes(torch.softmax(self.parameter, dim=1))

    def codebook(self) -> Codebook:
        """The codebook of the present mixtures without their small weights, detached."""
        mixture = self._mixture.weighted(torch.softmax(self.parameter.detach(), dim=1))
        return replace(self._start, codes=mixture.codes(mixture.weights), mixture=mixture)


def moving_codes(start: Codebook, config: JointConfig) -> MovingCodes:
    """Codes that joint training may move, of the kind of the codebook."""
    if start.mixture is None:
        return FreeCodes(start, config.lr_codes)
    return MixtureCodes(start, start.mixture, config.lr_mixture)


def lower_rates(codebook: Codebook, config: JointConfig) -> str:
    """What to do if joint training of a codebook diverges: the learning rates that it uses, with their values."""
    key, rate = ("lr_codes", config.lr_codes) if codebook.mixture is None else ("lr_mixture", config.lr_mixture)
    return f"lower train.joint.{key}, {rate:g}, and train.joint.lr_head, {config.lr_head:g}"
