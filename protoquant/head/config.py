"""The params section ``train``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from protoquant.core.section import Section

Grounding = Literal["centroid", "medoid", "chosen", "mean"]
Temperature = Annotated[float, Field(ge=0.001, le=10.0)]


class TrainConfig(Section):
    """How patch similarities become presence scores, and how sparse the head on them is."""

    temperature: Temperature | Annotated[tuple[Temperature, ...], Field(min_length=1, max_length=20)] = Field(
        (0.03, 0.04),
        description="of the softmax over codes; low lets one code win a cell alone; from a list, validation chooses",
    )
    points: int = Field(20, ge=1, le=200, description="sparsities tried for each temperature")
    ratio: float = Field(
        0.003,
        ge=1e-5,
        le=0.9,
        description="smallest penalty tried, as a share of the one at which all weights are zero",
    )
    refit: float = Field(
        0.3,
        gt=0.0,
        le=1.0,
        description="share of the penalty that stays when the chosen weights are fitted again; 1: no second fit",
    )
    tolerance: float = Field(
        0.01,
        ge=0.0,
        le=1.0,
        description="validation accuracy given up for sparsity: the sparsest head within it is taken",
    )
    max_class_size: float | None = Field(
        None, gt=0.0, description="most prototypes per class, on average, of a head that may be taken; none: no limit"
    )
    grounding: Grounding = Field(
        "centroid",
        description="what codes become before the last fit of the head; centroid: they stay as learned; medoid: each "
        "its nearest train patch; chosen: of its grounding_patches nearest the one of least loss on half of validation "
        "(the other half measures); mean: the direction of their mean",
    )
    grounding_patches: int | None = Field(
        None,
        ge=2,
        le=16,
        description="nearest train patches that chosen and mean take into account; none with centroid and medoid",
    )
    solver_tolerance: float = Field(
        0.01, ge=1e-8, le=0.1, description="how far from optimal a head may stay, as a share of its penalty"
    )
    max_iterations: int = Field(1000, ge=1, le=100_000, description="steps of the solver for one sparsity, at most")
    batch: int = Field(32, ge=1, le=4096, description="images scored at once; fixed, since it decides the rounding")
    crops: int = Field(
        3,
        ge=0,
        le=8,
        description="training patches kept as pictures for each prototype; 0 for data that may not be passed on",
    )
    crop_context: float = Field(1.0, ge=0.0, le=5.0, description="surroundings on each side of a patch, in patches")
    crop_size: int = Field(96, ge=16, le=512, description="side of a patch picture, in pixels")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures to try, at least one."""
        return self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)

    @model_validator(mode="after")
    def _distinct(self) -> "TrainConfig":
        if len(set(self.temperatures)) != len(self.temperatures):
            raise ValueError(f"temperature must not repeat a value, got {list(self.temperatures)}")
        return self

    @model_validator(mode="after")
    def _grounded(self) -> "TrainConfig":
        takes = self.grounding in ("chosen", "mean")
        if takes != (self.grounding_patches is not None):
            wanted = "a number from 2 to 16" if takes else "null"
            raise ValueError(
                f"grounding_patches must be {wanted} with grounding {self.grounding}, got {self.grounding_patches}"
            )
        return self
