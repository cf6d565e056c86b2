"""Trains a ProtoPNet-style head on stored features: prototypes moved by gradient, and their projection onto patches.

Prototypes are vectors from random patches of their class, moved with the head by Adam under cross-entropy, cluster and
separation losses, and compared by log((d^2 + 1) / (d^2 + 1e-4)) of the distance between unit vectors. A trainable
1 x 1 linear map may come before them, in place of the layers that ProtoPNet adds to its backbone, which stays frozen.

Source: Chen et al. 2019 (ProtoPNet), section 2.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from benchmarks.steadiness import Look
from protoquant.codebook.matching import products
from protoquant.codebook.probe import top1
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.seeding import torch_generator
from protoquant.features.store.store import FeatureStore

CLUSTER, SEPARATION, NEAR = 0.8, 0.08, 1e-4
LR_PROTOTYPES, LR_HEAD = 3e-3, 1e-3
BATCH = 64
LAST_EPOCHS, LAST_PENALTY = 20, 1e-4


@dataclass(frozen=True)
class FreeHead:
    """Prototypes and the head on them.

    Attributes:
        start: The patches that prototypes started from, unit vectors.
        prototypes: The trained prototypes, unit vectors.
        head: Weights of any sign.
        norm: How tokens become directions.
        mapping: Map of these directions to the space of the prototypes; None: they share one.
    """

    start: Float[Tensor, "k w"]
    prototypes: Float[Tensor, "k w"]
    head: Float[Tensor, "c k"]
    norm: FeatureNorm
    mapping: Float[Tensor, "d w"] | None = None

    @property
    def of_class(self) -> Int64[Tensor, " k"]:
        """The class of each prototype: as many for each class, in order."""
        return torch.arange(len(self.head)).repeat_interleave(len(self.prototypes) // len(self.head))

    def units(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n t w"]:
        """Return the directions that are compared with the prototypes."""
        return _mapped(self.norm.units(tokens), self.mapping)

    def look(self, tokens: Float[Tensor, "n t d"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
        """Return the activation of every prototype, and the cell that gave it."""
        distance, cells = _distances(self.units(tokens), self.prototypes)
        return _activation(distance), cells

    def top1(self, store: FeatureStore) -> float:
        """Return the accuracy on a split, in [0, 1]."""
        return accuracy(self.look, self.head, store)


def train_free_head(
    train: FeatureStore, norm: FeatureNorm, *, per_class: int, epochs: int, seed: int, width: int | None = None
) -> FreeHead:
    """Train prototypes and head together; the last epoch is taken.

    Args:
        train: Features.
        norm: How tokens become directions, the same as of the other heads.
        per_class: Prototypes of each class; their head weights start at 1, those of others at -0.5.
        epochs: Passes over the train images.
        seed: Seed of the start and of the order of images.
        width: Dimensions of the trainable 1 x 1 map's output; None: no map.
    """
    generator, units = torch_generator(seed, "benchmark drift"), unit_tokens(train, norm)
    c = int(train.labels.max()) + 1
    of_class = torch.arange(c).repeat_interleave(per_class)
    start = torch.stack([_patch(units, train.labels, int(label), generator) for label in of_class])
    mapping = None if width is None else torch.randn(train.d, width, generator=generator).requires_grad_()
    start = _mapped(start, mapping).detach()
    prototypes, own = start.clone().requires_grad_(), one_hot(of_class, c).T.float()
    head = (1.5 * own - 0.5).requires_grad_()
    moved = [prototypes] if mapping is None else [prototypes, mapping]
    optimizer = torch.optim.Adam([{"params": moved, "lr": LR_PROTOTYPES}, {"params": [head], "lr": LR_HEAD}])
    for _ in range(epochs):
        for images in torch.split(torch.randperm(train.n, generator=generator), BATCH):
            labels = train.labels[images]
            distance, _ = _distances(_mapped(units[images], mapping), normalize(prototypes, dim=1))
            mine = own[labels].bool()
            cluster = distance.masked_fill(~mine, torch.inf).amin(dim=1).mean()
            separation = distance.masked_fill(mine, torch.inf).amin(dim=1).mean()
            loss = cross_entropy(_activation(distance) @ head.T, labels) + CLUSTER * cluster - SEPARATION * separation
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    mapping = None if mapping is None else mapping.detach()
    return FreeHead(start, normalize(prototypes.detach(), dim=1), head.detach(), norm, mapping)


@torch.no_grad()
def projected(head: FreeHead, train: FeatureStore) -> FreeHead:
    """Put every prototype onto the nearest train patch of its class, as ProtoPNet does before its last step."""
    best, patches = torch.full((len(head.prototypes),), -torch.inf), head.prototypes.clone()
    for images in torch.split(torch.arange(train.n), BATCH):
        units = head.units(train.tokens(images))
        foreign = train.labels[images][:, None, None] != head.of_class
        cosines = (units @ head.prototypes.T).masked_fill(foreign, -torch.inf).flatten(0, 1)
        found, places = cosines.max(dim=0)
        better = found > best
        best[better], patches[better] = found[better], units.flatten(0, 1)[places[better]]
    return replace(head, prototypes=patches)


def fit_last_layer(head: FreeHead, train: FeatureStore) -> FreeHead:
    """Fit the head alone on fixed prototypes; an L1 penalty draws weights of other classes' prototypes to 0."""
    batches = torch.split(torch.arange(train.n), BATCH)
    with torch.no_grad():
        activations = [head.look(train.tokens(images))[0] for images in batches]
    weights = head.head.clone().requires_grad_()
    foreign = torch.arange(len(weights))[:, None] != head.of_class
    optimizer = torch.optim.Adam([weights], lr=LR_HEAD)
    for _ in range(LAST_EPOCHS):
        for images, scores in zip(batches, activations, strict=True):
            penalty = LAST_PENALTY * weights[foreign].abs().sum()
            loss = cross_entropy(scores @ weights.T, train.labels[images]) + penalty
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return replace(head, head=weights.detach())


def accuracy(look: Look, head: Float[Tensor, "c k"], store: FeatureStore) -> float:
    """Return the accuracy on a split, in [0, 1], of a head on what each image's tokens activate."""
    batches = torch.split(torch.arange(store.n), BATCH)
    logits = [look(store.tokens(images))[0] @ head.T for images in batches]
    return top1(torch.cat(logits), store.labels)


def unit_tokens(store: FeatureStore, norm: FeatureNorm) -> Float[Tensor, "n t d"]:
    """Return the directions of all tokens of a split, in memory."""
    return torch.cat([norm.units(store.tokens(images)) for images in torch.split(torch.arange(store.n), BATCH)])


def _patch(
    units: Float[Tensor, "n t d"], labels: Int64[Tensor, " n"], label: int, generator: torch.Generator
) -> Float[Tensor, " d"]:
    images = torch.nonzero(labels == label).flatten()
    image = images[torch.randint(len(images), (1,), generator=generator)]
    cell = int(torch.randint(units.shape[1], (1,), generator=generator))
    return units[image][0, cell]


def _mapped(units: Float[Tensor, "*any d"], mapping: Float[Tensor, "d w"] | None) -> Float[Tensor, "*any w"]:
    return units if mapping is None else normalize(units @ mapping, dim=-1)


def _distances(
    units: Float[Tensor, "n t d"], prototypes: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Return the least squared distance of each prototype to any token of an image, and that token's cell."""
    n, t, d = units.shape
    cosines, cells = products(units.reshape(n * t, d), prototypes).reshape(n, t, -1).max(dim=1)
    return (2.0 - 2.0 * cosines).clamp_min(0.0), cells


def _activation(distance: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    return torch.log((distance + 1.0) / (distance + NEAR))
