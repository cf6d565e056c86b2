"""Classifiers that accuracy is compared with and that are not ours: nearest class mean, k-NN, and two trained heads.

All see the same stored features. Vectors are unit vectors after the mean of the train split has been taken away: of
mean-pooled tokens for nearest class mean and k-NN, of tokens for the trained heads. What is chosen is chosen on
validation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from benchmarks.pipnet import train_soft_head
from benchmarks.protopnet import fit_last_layer, projected, train_free_head
from benchmarks.steadiness import Look
from protoquant.codebook.probe import pooled_tokens, top1
from protoquant.codebook.space.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.codebook.tokens import token_batches
from protoquant.features.store.store import FeatureStore

PER_CLASS = 10
"""Prototypes of a class that the trained heads start with."""
WIDTH = 128
"""Dimensions of ProtoPNet's prototypes."""
NEIGHBOURS = (1, 3, 5, 10, 20, 50)
TINY = 1e-3
"""Weights up to this do not count, as in PIP-Net."""
_CPU, _TOKENS = torch.device("cpu"), 16_384


@dataclass(frozen=True)
class Rival:
    """A finished classifier.

    Attributes:
        logits: Class scores of a split (n, c).
        class_size: Prototypes of a class, on average; 0 without prototypes.
        look: The activation of every prototype and its cell; None without prototypes.
    """

    logits: Callable[[FeatureStore], Float[Tensor, "n c"]]
    class_size: float = 0.0
    look: Look | None = None


def nearest_mean(train: FeatureStore, validation: FeatureStore, epochs: int, seed: int) -> Rival:
    """Compare an image with the mean vector of each class, by cosine."""
    del validation, epochs, seed
    vectors = _vectors(train)
    own = vectors(train)
    means = normalize(one_hot(train.labels).T.float() @ own, dim=1)
    return Rival(lambda store: vectors(store) @ means.T)


def neighbours(train: FeatureStore, validation: FeatureStore, epochs: int, seed: int) -> Rival:
    """Let the k nearest train images vote with their cosine; validation chooses k."""
    del epochs, seed
    vectors = _vectors(train)
    own, of_class = vectors(train), one_hot(train.labels).float()

    def votes(store: FeatureStore, k: int) -> Float[Tensor, "n c"]:
        cosines, nearest = (vectors(store) @ own.T).topk(min(k, train.n), dim=1)
        return (cosines.clamp_min(0.0)[:, :, None] * of_class[nearest]).sum(dim=1)

    best = max(NEIGHBOURS, key=lambda k: top1(votes(validation, k), validation.labels))
    return Rival(lambda store: votes(store, best))


def protopnet(train: FeatureStore, validation: FeatureStore, epochs: int, seed: int) -> Rival:
    """Train a ProtoPNet-style head with its map, projection and last step."""
    del validation
    free = train_free_head(train, _norm(train), per_class=PER_CLASS, epochs=epochs, seed=seed, width=WIDTH)
    head = fit_last_layer(projected(free, train), train)
    return Rival(_scores(head.look, head.head), PER_CLASS, head.look)


def pipnet(train: FeatureStore, validation: FeatureStore, epochs: int, seed: int) -> Rival:
    """Train a PIP-Net-style head; how many prototypes a class keeps follows from its shrinking weights."""
    prototypes = PER_CLASS * (int(train.labels.max()) + 1)
    passes = (epochs // 4, epochs)
    head = train_soft_head(train, validation, _norm(train), prototypes=prototypes, epochs=passes, seed=seed)
    return Rival(_scores(head.look, head.head), float((head.head > TINY).sum()) / len(head.head), head.look)


def _norm(train: FeatureStore) -> FeatureNorm:
    return fit_feature_norm("center_l2", token_batches(train, _TOKENS), _CPU)


def _vectors(train: FeatureStore) -> Callable[[FeatureStore], Float[Tensor, "n d"]]:
    centre = pooled_tokens(train, _TOKENS, _CPU).mean(dim=0)
    return lambda store: normalize(pooled_tokens(store, _TOKENS, _CPU) - centre, dim=1)


def _scores(look: Look, head: Float[Tensor, "c k"]) -> Callable[[FeatureStore], Float[Tensor, "n c"]]:
    def logits(store: FeatureStore) -> Float[Tensor, "n c"]:
        batches = torch.split(torch.arange(store.n), 64)
        return torch.cat([look(store.tokens(images))[0] for images in batches]) @ head.T

    return logits


RIVALS: Mapping[str, Callable[[FeatureStore, FeatureStore, int, int], Rival]] = {
    "mean": nearest_mean,
    "neighbours": neighbours,
    "protopnet": protopnet,
    "pipnet": pipnet,
}
"""Each takes the train and the validation split, the epochs of a trained head, and the seed."""
