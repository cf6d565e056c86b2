"""The params section ``train.gradient``: stage 2 of the paper."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from protoquant.core.descent import OptimizerName
from protoquant.core.section import Section

Penalty = Annotated[float, Field(ge=0.0, le=10.0)]


class GradientHeadConfig(Section):
    """Stage 2 of the paper: weights behind a ReLU, trained by gradient on mini-batches."""

    optimizer: OptimizerName = Field(
        "adam", description="adam: weight decay is part of the gradient; adamw: it shrinks weights directly"
    )
    lr: float = Field(0.01, gt=0.0, le=100.0, description="highest learning rate, met after the warm-up")
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="pull of every weight above 0 towards zero")
    epochs: int = Field(60, ge=1, le=10_000, description="passes over the train images; validation chooses one of them")
    warmup_epochs: int = Field(
        10, ge=0, le=1_000, description="epochs in which the learning rate rises, step by step; below epochs"
    )
    batch: int = Field(128, ge=1, le=1_000_000, description="images of a step")
    objective: Literal["plain", "log"] = Field(
        "plain", description="plain: cross-entropy of the logits; log: of ln(logits^2 + 1), in training alone (PIP-Net)"
    )
    penalties: Annotated[tuple[Penalty, ...], Field(min_length=1, max_length=50)] = Field(
        (0.0, 0.001, 0.01, 0.1),
        description="L1 penalties tried for each temperature; a weight costs its penalty over the number of classes",
    )
    smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="share of each label spread over all classes")
    mixup: float = Field(
        0.0, ge=0.0, le=100.0, description="strength of mixing the scores and labels of two images; 0: none"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.penalties)) != len(self.penalties):
            raise ValueError(f"penalties must not repeat a value, got {list(self.penalties)}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs must be below epochs, {self.epochs}, got {self.warmup_epochs}")
        if self.optimizer == "adamw" and self.weight_decay == 0.0:
            raise ValueError("optimizer must be adam with weight_decay 0, got adamw, which is the same then")
        return self
