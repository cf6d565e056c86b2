"""The params section ``quantize``."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from protoquant.codebook.learners.config import EmaConfig, GradientLearnerConfig
from protoquant.core.errors import ConfigError
from protoquant.core.section import Section
from protoquant.features.config import LAST

FeatureNormName = Literal["none", "l2", "layernorm", "center_l2", "whiten"]
Metric = Literal["cosine", "euclidean"]
Drawn = Literal["uniform", "normal", "orthogonal", "xavier_uniform", "xavier_normal", "constant", "sparse"]
Seeding = Literal["random", "kmeans++", "class_aware", "farthest"] | Drawn


class QuantizeConfig(Section):
    """How the codebook is learned and the linear probe fitted."""

    size: int = Field(40, ge=1, le=1_000_000, description="codes, counted as size_unit says")
    size_unit: Literal["class", "codebook"] = Field(
        "class", description="class: size codes for each class; codebook: size codes in all"
    )
    keep: int | None = Field(
        12,
        ge=1,
        le=1_000_000,
        description="most codes of each class that stay after seeding: those near to patches of ten images of the "
        "class, and nearer than to patches of other classes; none: all (class_aware)",
    )
    seeding: Seeding = Field(
        "class_aware",
        description="random: patches of the train images; kmeans++: patches far from each other; "
        "class_aware: k-means within each class, joined, on the patches typical of it; "
        "farthest: each patch the farthest from those before; the rest look at no data: uniform in (0, 1), normal, "
        "orthogonal, xavier_uniform, xavier_normal, constant (all alike), sparse (a tenth zeros, the rest normal)",
    )
    seeding_tokens: int = Field(
        20_000, ge=1, le=10_000_000, description="patch tokens, drawn at random, that seeding may hold in memory"
    )
    seeding_share: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="share of an image's tokens, those the linear probe finds most typical of its class, "
        "that seeding looks at (class_aware)",
    )
    seeding_on_object: bool = Field(
        False,
        description="whether seeding looks only at patches on the object, by the masks of parts of the train images; "
        "seeding_share is then a share of these (class_aware)",
    )
    seeding_epochs: int = Field(20, ge=1, le=1_000, description="most k-means passes within a class (class_aware)")
    learner: Literal["kmeans", "ema", "gradient"] = Field(
        "kmeans",
        description="what moves the codes over all train tokens after seeding: kmeans; ema: running means (VQ-EMA); "
        "gradient: through the linear probe, as in stage 1 of the paper",
    )
    epochs: int = Field(
        0,
        ge=0,
        le=1_000,
        description="passes of the learner over all train tokens after seeding; kmeans may need fewer",
    )
    update: Literal["epoch", "batch"] = Field(
        "epoch",
        description="epoch: codes move after each pass, the error never rises; batch: after each batch (kmeans)",
    )
    batch: int = Field(16_384, ge=1, le=10_000_000, description="patch tokens of a step, rounded down to whole images")
    tolerance: float = Field(
        0.001,
        ge=0.0,
        lt=1.0,
        description="stop after a pass that lowered the quantisation error by a smaller share (kmeans, class_aware)",
    )
    tokens_per_image: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="patch tokens of each image, drawn at random once, that the passes of kmeans and ema look at; "
        "none: all",
    )
    feature_norm: FeatureNormName = Field(
        "center_l2",
        description="none: tokens as they are; l2: direction of a token; layernorm: mean 0 and variance 1 within a "
        "token; center_l2: direction after taking the train mean away; whiten: train tokens vary alike in all "
        "directions",
    )
    layers: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        max_length=20,
        description="layers, of those that extract names, whose tokens the codes are compared with, in the same order, "
        "the last of them last; empty (null): all",
    )
    layer_weights: Annotated[float, Field(gt=0.0, le=100.0)] | tuple[Annotated[float, Field(gt=0.0, le=100.0)], ...] = (
        Field(
            1.0,
            description="weights of the layers, by which they enter the direction of a cell; one "
            "number: of each layer before the last, which has 1; a list: one for each layer",
        )
    )
    metric: Metric = Field(
        "cosine",
        description="how the learner compares: cosine: codes are mean directions; euclidean: codes are means. What "
        "follows compares directions with either",
    )
    ema: EmaConfig | None = Field(None, description="running means (ema); null with another learner")
    gradient: GradientLearnerConfig | None = Field(
        None, description="stage 1 by gradient (gradient); null with another learner"
    )
    probe_penalties: tuple[Annotated[float, Field(gt=0.0, le=1e6)], ...] = Field(
        (3.0, 1.0, 0.3, 0.1, 0.03),
        min_length=1,
        description="L2 penalties of the linear probe; the best on validation is kept, the largest where equal",
    )
    probe_iterations: int = Field(300, ge=1, le=100_000, description="most L-BFGS steps of the probe for one penalty")

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        if self.layers is not None and (self.layers[-1] != LAST or len(set(self.layers)) != len(self.layers)):
            raise ValueError(f"layers must each be named once and end with {LAST}, got {list(self.layers)}")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.seeding != "class_aware" and self.seeding_on_object:
            raise ValueError(f"seeding_on_object must be false with seeding {self.seeding!r}, got true")
        if self.seeding != "class_aware" and self.epochs == 0:
            raise ValueError(f"epochs must be at least 1 with seeding {self.seeding!r}, got 0; raise quantize.epochs")
        self._check_learner()
        return self

    def _check_learner(self) -> None:
        for name, section in (("ema", self.ema), ("gradient", self.gradient)):
            if (self.learner == name) != (section is not None):
                raise ValueError(
                    f"{name} must be {'a section, {} for its defaults,' if section is None else 'null'} with learner "
                    f"{self.learner!r}, got {'null' if section is None else 'a section'}"
                )
        if self.tokens_per_image is not None and (self.epochs == 0 or self.learner == "gradient"):
            raise ValueError(
                f"tokens_per_image has an effect with epochs >= 1 of kmeans or ema, got epochs {self.epochs} of "
                f"{self.learner}; set tokens_per_image to null"
            )
        if self.learner == "kmeans":
            return
        if self.epochs == 0:
            raise ValueError(f"epochs must be at least 1 with learner {self.learner!r}, got 0; raise quantize.epochs")
        if self.update == "batch":
            raise ValueError(f"update must be 'epoch' with learner {self.learner!r}, got 'batch', which is for kmeans")
        if self.gradient is not None and self.gradient.warmup_epochs > self.epochs:
            raise ValueError(
                f"gradient.warmup_epochs must be at most epochs, {self.epochs}, got {self.gradient.warmup_epochs}"
            )


def read_layers(config: QuantizeConfig, stored: Sequence[str]) -> tuple[str, ...]:
    """Name the layers whose tokens the codes are compared with; refuse values that mean nothing for them.

    Args:
        config: The section.
        stored: Layers that extract names, in the order of the network.

    Raises:
        ConfigError: A layer is not stored or in another order, the number of weights differs, or learner, metric or
            feature norm take one layer alone.
    """
    layers = tuple(stored) if config.layers is None else config.layers
    if layers != tuple(name for name in stored if name in layers):
        raise ConfigError(
            f"quantize.layers must be of those that extract.layers names, {list(stored)}, in their order, got "
            f"{list(layers)} (params.yaml); name others there and run extract, or set quantize.layers to null"
        )
    weights = config.layer_weights
    if isinstance(weights, tuple) and len(weights) != len(layers):
        raise ConfigError(
            f"quantize.layer_weights must be one number, or one for each layer that quantize reads, {list(layers)}, "
            f"got {list(weights)} (params.yaml)"
        )
    if len(layers) > 1:
        _check_several(config, layers)
    return layers


def recorded(config: QuantizeConfig, layers: Sequence[str]) -> dict[str, Any]:
    """The section in plain values, as a codebook of these layers records it.

    What is made of the last layer alone, of all codes, or on all patches, keeps the bytes that it had when there was no
    other way.
    """
    absent = {"layers", "layer_weights"} if len(layers) == 1 else set()
    absent |= {"keep"} if config.keep is None else set()
    absent |= set() if config.seeding_on_object else {"seeding_on_object"}
    return config.model_dump(mode="json", exclude=absent)


def _check_several(config: QuantizeConfig, layers: tuple[str, ...]) -> None:
    for key, value, allowed in (
        ("feature_norm", config.feature_norm, ("center_l2",)),
        ("learner", config.learner, ("kmeans", "ema")),
        ("metric", config.metric, ("cosine",)),
    ):
        if value not in allowed:
            raise ConfigError(
                f"quantize.{key} must be {' or '.join(allowed)} with several layers, {list(layers)}, got {value} "
                f"(params.yaml); or set quantize.layers to [{LAST}]"
            )
