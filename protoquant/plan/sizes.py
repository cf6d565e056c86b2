"""Computes sizes on disk and in memory from the settings and the number of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from protoquant.codebook.config import QuantizeConfig
from protoquant.core.errors import ConfigError
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.config import ExtractConfig
from protoquant.features.store.dtypes import token_bytes
from protoquant.features.tokens import Grid, finest
from protoquant.head.config import TrainConfig
from protoquant.head.inputs import MAPPED
from protoquant.head.joint_memory import JointSizes, joint_bytes

PROCESS = 600 << 20
"""Approximate bytes of a process that has loaded torch and the backbone."""


@dataclass(frozen=True)
class DatasetCounts:
    """Numbers of images and classes.

    Attributes:
        train: Images to learn from.
        validation: Images for selection.
        test: Images for the final measurement.
        classes: Number of classes c.
    """

    train: int
    validation: int
    test: int
    classes: int

    @property
    def images(self) -> int:
        """Images of all splits."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class Shape:
    """What the backbone gives for an image: the tokens of some layers."""

    layers: tuple[LayerShape, ...]

    @property
    def grid(self) -> Grid:
        """(h, w) of the finest layer, in cells."""
        return finest([layer.grid for layer in self.layers])

    @property
    def t(self) -> int:
        """Number of cells of the finest layer."""
        return self.grid[0] * self.grid[1]

    @property
    def d(self) -> int:
        """Dimension of a token, over all layers."""
        return sum(layer.d for layer in self.layers)

    def stored(self, dtype: str) -> int:
        """Bytes of the stored tokens of an image."""
        return sum(layer.t * token_bytes(dtype, layer.d) for layer in self.layers)

    def only(self, names: Sequence[str] | None) -> Shape:
        """The layers that quantize takes; None for all."""
        return self if names is None else Shape(tuple(layer for layer in self.layers if layer.name in names))


@dataclass(frozen=True)
class Sizes:
    """Sizes in bytes, except for the counts.

    Attributes:
        k: Number of codes that stay after seeding.
        features: Features of each split, including augmented views.
        shards: Number of files in the store.
        scores: Presence scores of all images that train sees, for all temperatures and each time they are computed.
        mapped: Whether scores lie on disk, memory-mapped, while train runs.
        codebook: Codes.
        head: Weights.
        memory: Approximate peak of each stage in one process.
    """

    k: int
    features: Mapping[str, int]
    shards: int
    scores: int
    mapped: bool
    codebook: int
    head: int
    memory: Mapping[str, int]

    @property
    def store(self) -> int:
        """Bytes of the feature store."""
        return sum(self.features.values())

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {**asdict(self), "store": self.store}


def sizes_of(
    extract: ExtractConfig, quantize: QuantizeConfig, train: TrainConfig, counts: DatasetCounts, shape: Shape
) -> Sizes:
    """Work out all sizes.

    Raises:
        ConfigError: There are more codes than train tokens.
    """
    used = shape.only(quantize.layers)
    t, d, c = used.t, used.d, counts.classes
    seeded = quantize.size * c if quantize.size_unit == "class" else quantize.size
    if seeded > counts.train * t:
        raise ConfigError(
            f"quantize.size must give at most {counts.train * t:,} codes, the train tokens, got {seeded:,} "
            f"(params.yaml)"
        )
    k = seeded if quantize.keep is None or quantize.seeding != "class_aware" else min(seeded, quantize.keep * c)
    image = shape.stored(extract.dtype)
    of_split = {"train": counts.train * (1 + extract.views), "validation": counts.validation, "test": counts.test}
    scored, temperatures = counts.train + counts.validation, len(train.temperatures)
    once = 4 * scored * k * temperatures
    times = 1 + (train.joint is not None) + (train.grounding != "centroid")
    mapped = once > MAPPED
    return Sizes(
        k=k,
        features={name: n * image for name, n in of_split.items()},
        shards=sum(-(-n // extract.shard) for n in of_split.values()),
        scores=once * times,
        mapped=mapped,
        codebook=4 * k * d,
        head=4 * c * k,
        memory={
            "extract": PROCESS + 2 * min(extract.shard, counts.images) * image,
            "quantize": PROCESS
            + 4 * (2 * scored * d + quantize.seeding_tokens * d + quantize.batch * (d + k) + 4 * k * d),
            "train": PROCESS
            + (0 if mapped else once * times)
            + 4 * scored * c
            + _training(train, counts, used, k, extract.views)
            + _cross_fitting(train, scored, c, d, 0 if mapped else once, patches=_patches(train, counts, k, d)),
        },
    )


def joint_sizes(train: TrainConfig, counts: DatasetCounts, used: Shape, k: int, views: int) -> JointSizes:
    """What decides the memory of joint training, in one process of this machine."""
    patches = 0 if train.mixture is None else min(train.mixture.patches, counts.train)
    return JointSizes(used.layers, counts.train, views, counts.classes, k, patches)


def _patches(train: TrainConfig, counts: DatasetCounts, k: int, d: int) -> int:
    """Bytes of two copies of all patches of mixtures."""
    return 0 if train.mixture is None else 2 * 4 * k * min(train.mixture.patches, counts.train) * d


def _cross_fitting(train: TrainConfig, scored: int, c: int, d: int, scores: int, *, patches: int) -> int:
    """Return the bytes that cross-fitting holds: mean tokens, patches, scores of folds, logits of a repeat's heads."""
    if train.choice is None:
        return 0
    heads = len(train.temperatures) * (len(train.budget.sizes) if train.budget is not None else train.points)
    return 4 * scored * (d + 2 * heads * c) + min(train.choice.folds * scores, MAPPED) + patches


def _training(train: TrainConfig, counts: DatasetCounts, used: Shape, k: int, views: int) -> int:
    """Return the bytes of solver, scoring or joint training besides the scores, whichever takes most."""
    solver = 10 * 4 * counts.classes * k
    scoring = 4 * train.batch * used.t * k * 3
    alone = max(solver, scoring) + _patches(train, counts, k, used.d)
    joint = 0 if train.joint is None else joint_bytes(train.joint, joint_sizes(train, counts, used, k, views))
    return max(alone, joint)
