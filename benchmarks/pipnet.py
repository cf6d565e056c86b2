"""Trains a PIP-Net-style head on stored features: a 1 x 1 linear map into a softmax over prototypes, and a sparse head.

First the map is trained alone, so that each cell has one prototype and each batch all prototypes, then map and head
together. After every step of the head its weights shrink by a constant and stop at 0, which makes it sparse. PIP-Net
aligns two augmented views of an image; where the store holds none, both views are the plain image, and the alignment
only asks for one prototype per cell. The backbone is not trained.

Source: Nauta et al. 2023 (PIP-Net), section 4, and the values of its public code.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import nll_loss

from benchmarks.protopnet import accuracy, unit_tokens
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.seeding import torch_generator
from protoquant.features.store.store import FeatureStore

BATCH, SHRINK, CLAMP, TINY = 64, 1e-3, 0.1, 1e-8
LR_MAP, LR_HEAD = 1e-2, 5e-2
HEAD_ALONE = 3
"""Epochs at the start of the second stage in which the map stands still."""


@dataclass(frozen=True)
class SoftHead:
    """The map of tokens to prototypes, and the head on them.

    Attributes:
        mapping: The 1 x 1 map.
        head: Weights >= 0.
        norm: How tokens become directions.
    """

    mapping: Float[Tensor, "d k"]
    head: Float[Tensor, "c k"]
    norm: FeatureNorm

    def look(self, tokens: Float[Tensor, "n t d"]) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
        """Return the presence of every prototype, 0 below 0.1, and the cell that gave it."""
        scores, cells = _shares(self.norm.units(tokens), self.mapping).max(dim=1)
        return torch.where(scores < CLAMP, 0.0, scores), cells

    def top1(self, store: FeatureStore) -> float:
        """Return the accuracy on a split, in [0, 1]."""
        return accuracy(self.look, self.head, store)


def train_soft_head(
    train: FeatureStore,
    validation: FeatureStore,
    norm: FeatureNorm,
    *,
    prototypes: int,
    epochs: tuple[int, int],
    seed: int,
) -> SoftHead:
    """Train the map, then map and head; the epoch that is best on validation is taken.

    Args:
        train: Features; augmented views, where the store has them, are the second view.
        validation: Features that choose the epoch.
        norm: How tokens become directions, the same as of the other heads.
        prototypes: How many.
        epochs: Passes over the train images with the map alone, then with both.
        seed: Seed of the start and of the order of images.
    """
    generator, c = torch_generator(seed, "benchmark pipnet"), int(train.labels.max()) + 1
    views = [unit_tokens(store, norm) for store in (train, *train.views)]
    mapping = torch.randn(train.d, prototypes, generator=generator).requires_grad_()
    raw = torch.randn(c, prototypes, generator=generator).mul_(0.1).add_(1.0).requires_grad_()
    of_map, of_head = (
        torch.optim.AdamW([mapping], lr=LR_MAP, weight_decay=0.0),
        torch.optim.AdamW([raw], lr=LR_HEAD, weight_decay=0.0),
    )
    alone, best = min(HEAD_ALONE, epochs[1] - 1), (-1.0, SoftHead(mapping, raw, norm))
    for epoch in range(sum(epochs)):
        late = epoch - epochs[0]
        weights = (5.0, 2.0, 2.0) if late >= 0 else ((epoch + 1) / epochs[0], 5.0, 0.0)
        for images in torch.split(torch.randperm(train.n, generator=generator), BATCH):
            first, other = _shares(views[0][images], mapping), epoch % len(views)
            second = _shares(views[other][images], mapping) if other else first
            loss = _loss((first, second), raw.relu(), train.labels[images], weights)
            of_map.zero_grad()
            of_head.zero_grad()
            torch.autograd.backward(loss)
            if late < 0 or late >= alone:
                of_map.step()
            if late >= 0:
                of_head.step()
                raw.data.sub_(SHRINK).clamp_min_(0.0)
        if late >= alone:
            found = SoftHead(mapping.detach().clone(), raw.detach().clone(), norm)
            reached = found.top1(validation)
            best = (reached, found) if reached >= best[0] else best
    return best[1]


def _shares(units: Float[Tensor, "n t d"], mapping: Float[Tensor, "d k"]) -> Float[Tensor, "n t k"]:
    """Return each prototype's share of every cell."""
    return torch.softmax(units @ mapping, dim=-1)


def _loss(
    views: tuple[Float[Tensor, "n t k"], Float[Tensor, "n t k"]],
    head: Float[Tensor, "c k"],
    labels: Int64[Tensor, " n"],
    weights: tuple[float, float, float],
) -> Tensor:
    """Return the sum of alignment, the loss that asks for every prototype in a batch, and the loss of the classes."""
    first, second = views
    align = -torch.log((first * second.detach()).sum(dim=-1) + TINY).mean() / 2
    align = align - torch.log((second * first.detach()).sum(dim=-1) + TINY).mean() / 2
    pooled = [view.amax(dim=1) for view in views]
    seen = sum(-torch.log(torch.tanh(part.sum(dim=0)) + TINY).mean() for part in pooled) / 2
    logits = torch.log1p((torch.cat(pooled) @ head.T).square())
    classes = nll_loss(torch.log_softmax(logits, dim=1), labels.repeat(2))
    return weights[0] * align + weights[1] * seen + weights[2] * classes
