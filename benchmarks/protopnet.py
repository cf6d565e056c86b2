"""Trains a ProtoPNet-style head on stored features: free prototypes, before any projection onto patches.

Prototypes are vectors from random patches of their class, moved with the head by Adam under cross-entropy, cluster and
separation losses, and compared by log((d^2 + 1) / (d^2 + 1e-4)) of the distance between unit vectors.

Source: Chen et al. 2019 (ProtoPNet), sections 2.1 and 2.2, without the projection and the last convex step.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.matching import products
from protoquant.core.seeding import torch_generator
from protoquant.features.store.store import FeatureStore

CLUSTER, SEPARATION, NEAR = 0.8, 0.08, 1e-4
LR_PROTOTYPES, LR_HEAD = 3e-3, 1e-3
BATCH = 64


@dataclass(frozen=True)
class FreeHead:
    """Prototypes and the head on them.

    Attributes:
        start: The patches that prototypes started from, unit vectors.
        prototypes: The trained prototypes, unit vectors.
        head: Weights of any sign.
        norm: How tokens become directions.
    """

    start: Float[Tensor, "k d"]
    prototypes: Float[Tensor, "k d"]
    head: Float[Tensor, "c k"]
    norm: FeatureNorm

    def look(self, tokens: Float[Tensor, "n t d"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
        """Return the activation of every prototype, and the cell that gave it."""
        distance, cells = _distances(self.norm.units(tokens), self.prototypes)
        return _activation(distance), cells

    def top1(self, store: FeatureStore) -> float:
        """Return the accuracy on a split, in [0, 1]."""
        right = 0
        for images in torch.split(torch.arange(store.n), BATCH):
            logits = self.look(store.tokens(images))[0] @ self.head.T
            right += int((logits.argmax(dim=1) == store.labels[images]).sum())
        return right / store.n


def train_free_head(train: FeatureStore, norm: FeatureNorm, *, per_class: int, epochs: int, seed: int) -> FreeHead:
    """Train prototypes and head together; the last epoch is taken.

    Args:
        train: Features.
        norm: How tokens become directions, the same as of the other heads.
        per_class: Prototypes of each class; their head weights start at 1, those of others at -0.5.
        epochs: Passes over the train images.
        seed: Seed of the start and of the order of images.
    """
    generator = torch_generator(seed, "benchmark drift")
    c = int(train.labels.max()) + 1
    of_class = torch.arange(c).repeat_interleave(per_class)
    start = torch.stack([_patch(train, norm, int(label), generator) for label in of_class])
    prototypes, own = start.clone().requires_grad_(), one_hot(of_class, c).T.float()
    head = (1.5 * own - 0.5).requires_grad_()
    optimizer = torch.optim.Adam([{"params": [prototypes], "lr": LR_PROTOTYPES}, {"params": [head], "lr": LR_HEAD}])
    for _ in range(epochs):
        for images in torch.split(torch.randperm(train.n, generator=generator), BATCH):
            labels = train.labels[images]
            distance, _ = _distances(norm.units(train.tokens(images)), normalize(prototypes, dim=1))
            mine = own[labels].bool()
            cluster = distance.masked_fill(~mine, torch.inf).amin(dim=1).mean()
            separation = distance.masked_fill(mine, torch.inf).amin(dim=1).mean()
            loss = cross_entropy(_activation(distance) @ head.T, labels) + CLUSTER * cluster - SEPARATION * separation
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return FreeHead(start, normalize(prototypes.detach(), dim=1), head.detach(), norm)


def _patch(store: FeatureStore, norm: FeatureNorm, label: int, generator: torch.Generator) -> Float[Tensor, " d"]:
    images = torch.nonzero(store.labels == label).flatten()
    image = images[torch.randint(len(images), (1,), generator=generator)]
    cell = int(torch.randint(store.t, (1,), generator=generator))
    return norm.units(store.tokens(image))[0, cell]


def _distances(
    units: Float[Tensor, "n t d"], prototypes: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Return the least squared distance of each prototype to any token of an image, and that token's cell."""
    n, t, d = units.shape
    cosines, cells = products(units.reshape(n * t, d), prototypes).reshape(n, t, -1).max(dim=1)
    return (2.0 - 2.0 * cosines).clamp_min(0.0), cells


def _activation(distance: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    return torch.log((distance + 1.0) / (distance + NEAR))
