"""Settings of the one-shot / iterative study."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from protoquant.head.prune_plan import Criterion, GradientTuning, Patience, PlanFile, PrunePlan, Schedule

Strategy = Literal["one_shot", "iterative", "patience", "hybrid"]
Tuner = Literal["refit", "gradient"]
Target = Annotated[float, Field(gt=0.0, lt=1.0)]

_SCHEDULES: dict[Strategy, Schedule] = {
    "one_shot": "one_shot",
    "iterative": "geometric",
    "patience": "geometric",
    "hybrid": "hybrid",
}


class StudyConfig(PlanFile):
    """The same targets reached in four ways, from the same heads, with the same means of fine-tuning."""

    ratios: Annotated[tuple[Target, ...], Field(min_length=1, max_length=50)] = Field(
        (0.2, 0.4, 0.6, 0.8, 0.9, 0.95), description="shares to remove, rising"
    )
    unit: Literal["prototype", "entry"] = Field("prototype", description="what is removed")
    criterion: Criterion = Field("contribution", description="what ranks the units")
    semantics: Literal["mask", "compact"] = Field("mask", description="whether removed codes still compete")
    cuts: int = Field(
        5,
        ge=2,
        le=100,
        description="geometric cuts to every target, of hybrid too; units of small heads may allow fewer",
    )
    knee: float = Field(0.5, gt=0.0, lt=1.0, description="first cut of hybrid; it has no targets up to there")
    tuners: Annotated[tuple[Tuner, ...], Field(min_length=1, max_length=2)] = Field(
        ("refit", "gradient"), description="refit: the convex solver; gradient: the paper's gradient epochs"
    )
    gradient: GradientTuning = Field(
        default_factory=GradientTuning, description="fine-tuning after one cut; its own stop must be empty"
    )
    equal_epochs: bool = Field(
        True, description="one_shot trains as many epochs in all as iterative does; false: those of one cut"
    )
    patience: Patience = Field(
        default_factory=Patience, description="ends the fine-tuning of strategy patience, and of hybrid by gradient"
    )
    patience_epochs: int = Field(50, ge=1, le=10_000, description="most epochs after one cut where patience ends them")
    budgets: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=50)] = Field(
        (1, 3, 5, 8, 10, 15, 20, 30, 50), description="weights per class of the accuracy curve over class budgets"
    )
    resamples: int = Field(5, ge=2, le=1000, description="bootstrap draws of the train images, one for each seed")
    level: float = Field(0.95, ge=0.5, lt=1.0, description="of every interval")
    seed: int = Field(0, ge=0, description="start of the draws")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if list(self.ratios) != sorted(set(self.ratios)):
            raise ValueError(f"ratios must rise, got {list(self.ratios)}")
        if len(set(self.tuners)) != len(self.tuners):
            raise ValueError(f"tuners must not repeat one, got {list(self.tuners)}")
        if self.gradient.stop is not None:
            raise ValueError("gradient.stop must be empty: patience is a strategy of its own, with the key patience")
        self.plan("one_shot", "refit", self.ratios[0], 0)
        return self

    def strategies(self, tuner: Tuner, ratio: float) -> tuple[Strategy, ...]:
        """The strategies for a target: patience needs epochs to end, and hybrid a target beyond its first cut."""
        found: list[Strategy] = ["one_shot", "iterative"]
        if tuner == "gradient":
            found.append("patience")
        if ratio > self.knee:
            found.append("hybrid")
        return tuple(found)

    def plan(self, strategy: Strategy, tuner: Tuner, ratio: float, seed: int) -> PrunePlan:
        """The plan of a strategy.

        Args:
            strategy: Name of the strategy.
            tuner: Method of fine-tuning.
            ratio: Share to remove.
            seed: Seed for the order of images.
        """
        gradient = None
        if tuner == "gradient":
            times = self.cuts if strategy == "one_shot" and self.equal_epochs else 1
            gradient = self.gradient.model_copy(update={"epochs": self.gradient.epochs * times})
            if strategy in {"patience", "hybrid"}:
                gradient = self.gradient.model_copy(update={"epochs": self.patience_epochs, "stop": self.patience})
        return PrunePlan(
            unit=self.unit,
            criterion=self.criterion,
            schedule=_SCHEDULES[strategy],
            end=ratio,
            start=self.knee if strategy == "hybrid" else None,
            step=None if strategy == "one_shot" else self._step(strategy, ratio),
            finetune="each",
            tuner=tuner,
            gradient=gradient,
            semantics=self.semantics,
            seed=seed,
        )

    def _step(self, strategy: Strategy, ratio: float) -> float:
        """The share of the remaining units that each cut removes to reach the target in the configured cuts."""
        after, cuts = (self.knee, self.cuts - 1) if strategy == "hybrid" else (0.0, self.cuts)
        step: float = 1.0 - ((1.0 - ratio) / (1.0 - after)) ** (1.0 / cuts)
        return max(step, 0.001)
