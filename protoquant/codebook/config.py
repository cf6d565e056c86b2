"""The params section ``quantize``."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from protoquant.core.section import Section

FeatureNormName = Literal["l2", "center_l2"]
Seeding = Literal["random", "kmeans++", "class_aware"]


class QuantizeConfig(Section):
    """How the codebook is learned and the linear probe fitted."""

    size: int = Field(7, ge=1, le=1_000_000, description="codes, counted as size_unit says")
    size_unit: Literal["class", "codebook"] = Field(
        "class", description="class: size codes for each class; codebook: size codes in all"
    )
    seeding: Seeding = Field(
        "class_aware",
        description="random: patches of the train images; kmeans++: patches far from each other; "
        "class_aware: k-means within each class, joined, on the patches typical of it",
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
    seeding_epochs: int = Field(20, ge=1, le=1_000, description="most k-means passes within a class (class_aware)")
    epochs: int = Field(0, ge=0, le=1_000, description="most k-means passes over all train tokens after seeding")
    update: Literal["epoch", "batch"] = Field(
        "epoch", description="epoch: codes move after each pass, the error never rises; batch: after each batch"
    )
    batch: int = Field(16_384, ge=1, le=10_000_000, description="patch tokens of a step, rounded down to whole images")
    tolerance: float = Field(
        0.001, ge=0.0, lt=1.0, description="stop after a pass that lowered the quantisation error by a smaller share"
    )
    feature_norm: FeatureNormName = Field(
        "center_l2", description="l2: direction of a token; center_l2: direction after taking the train mean away"
    )
    probe_penalties: tuple[Annotated[float, Field(gt=0.0, le=1e6)], ...] = Field(
        (3.0, 1.0, 0.3, 0.1, 0.03),
        min_length=1,
        description="L2 penalties of the linear probe; the best on validation is kept, the largest where equal",
    )
    probe_iterations: int = Field(300, ge=1, le=100_000, description="most L-BFGS steps of the probe for one penalty")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.seeding != "class_aware" and self.epochs == 0:
            raise ValueError(f"epochs must be at least 1 with seeding {self.seeding!r}, got 0; raise quantize.epochs")
        return self
