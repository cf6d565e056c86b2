"""The sections ``quantize.ema`` and ``quantize.gradient``."""

from typing import Literal, Self

from pydantic import Field, model_validator

from protoquant.core.descent import OptimizerName
from protoquant.core.section import Section


class _Reviving(Section):
    """When dead codes are given a new place."""

    revive_every: int = Field(
        1,
        ge=0,
        le=1_000,
        description="epochs after which codes that no token was nearest to move to badly represented tokens; 0: never",
    )
    revive_until: float | None = Field(
        0.8,
        ge=0.0,
        le=1.0,
        description="share of the epochs after which no code is revived any more; null with revive_every 0",
    )

    @model_validator(mode="after")
    def _check_revival(self) -> Self:
        if (self.revive_every == 0) != (self.revive_until is None):
            raise ValueError(
                f"revive_until must be {'null with' if self.revive_every == 0 else 'a share without'} revive_every 0, "
                f"got {self.revive_until!r}"
            )
        return self


class EmaConfig(_Reviving):
    """How running means move the codes."""

    decay: float = Field(
        0.8, ge=0.0, lt=1.0, description="weight of the old running mean after each batch; 0 forgets it"
    )
    epsilon: float = Field(
        1e-5, gt=0.0, le=1.0, description="tokens added to the count of each code, so that none divides by zero"
    )


class GradientLearnerConfig(_Reviving):
    """Stage 1 of the paper: codes learned by gradient through the frozen task head."""

    optimizer: OptimizerName = Field(
        "adam", description="adam: weight decay is part of the gradient; adamw: it shrinks codes directly"
    )
    lr: float = Field(
        0.02, gt=0.0, le=100.0, description="highest learning rate, met after the warm-up; 0.0005 absolute in the paper"
    )
    lr_scale: Literal["absolute", "tokens"] = Field(
        "tokens",
        description="absolute: lr and floor are as they stand (paper), codes start where seeding puts them; tokens: "
        "both are times the root mean square of a token's numbers, and with metric cosine codes start as long as "
        "tokens are",
    )
    floor: float = Field(1e-6, ge=0.0, le=100.0, description="learning rate at the end of the cosine, at most lr")
    warmup_epochs: int = Field(
        10, ge=0, le=1_000, description="epochs in which the learning rate rises, step by step; at most epochs"
    )
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="pull of every code, used or not, towards zero")
    weight_task: float = Field(1.0, ge=0.0, le=1e6, description="weight of the task head's cross-entropy")
    weight_codebook: float = Field(
        1.0, ge=0.0, le=1e6, description="weight of the mean squared difference of tokens and their codes"
    )
    weight_balance: float = Field(
        0.0, ge=0.0, le=1e6, description="weight of the loss that asks for all codes to be used alike"
    )
    balance_temperature: float | None = Field(
        None, gt=0.0, le=100.0, description="of the softmax over codes in that loss; null with weight_balance 0"
    )
    smoothing: float = Field(0.1, ge=0.0, lt=1.0, description="share of each label spread over all classes")
    mixup: float = Field(
        0.8, ge=0.0, le=100.0, description="strength of mixing the tokens and labels of two images; 0: none"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.weight_balance == 0.0) != (self.balance_temperature is None):
            raise ValueError(
                f"balance_temperature must be {'null with' if self.weight_balance == 0.0 else 'a number without'} "
                f"weight_balance 0, got {self.balance_temperature!r}"
            )
        if self.weight_task == self.weight_codebook == self.weight_balance == 0.0:
            raise ValueError("one of weight_task, weight_codebook and weight_balance must be above 0, got 0 for all")
        if self.weight_task == 0.0 and self.smoothing > 0.0:
            raise ValueError(f"smoothing must be 0 with weight_task 0, got {self.smoothing:g}; it would do nothing")
        if self.optimizer == "adamw" and self.weight_decay == 0.0:
            raise ValueError("optimizer must be adam with weight_decay 0, got adamw, which is the same then")
        if self.floor > self.lr:
            raise ValueError(
                f"floor must be at most lr, {self.lr:g}, got {self.floor:g}; lower quantize.gradient.floor"
            )
        return self
