"""The section ``sweep`` of params.yaml: what a sweep searches and how. No stage reads it."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from protoquant.core.section import Section

Number = int | float


class Range(Section):
    """All numbers between two; whole ones where the key takes whole numbers alone."""

    low: Number = Field(description="smallest value tried")
    high: Number = Field(description="largest value tried")
    log: bool = Field(False, description="whether each tenfold step is as likely as any other")

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"high must be above low, {self.low}, got {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be > 0 with log, got {self.low}")
        return self


class EarlyStopping(Section):
    """ASHA: at each rung the weaker trials end (Li et al. 2020)."""

    grace: int = Field(
        12,
        ge=1,
        le=100_000,
        description="measurements on validation (heads, then joint epochs) before any trial may end; cross-fitted "
        "trials may after the first repeat",
    )
    reduction: int = Field(3, ge=2, le=100, description="of each rung one trial in so many goes on")


Choices = Annotated[tuple[JsonValue, ...], Field(min_length=1, max_length=1_000)]


class SweepConfig(Section):
    """Which keys of ``quantize`` and ``train`` are searched, in which order, with what of the machine."""

    space: Annotated[dict[str, Choices | Range], Field(min_length=1, max_length=50)] = Field(
        {"quantize.size": (4, 7, 10, 14, 20, 40)},
        description="keys of quantize and train with the values to try: a list, or {low, high, log} (random, tpe)",
    )
    search: Literal["grid", "random", "tpe"] = Field(
        "grid", description="grid: all combinations of lists; random: drawn; tpe: drawn where earlier trials did well"
    )
    trials: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="trials of random and tpe; empty (null) with grid, which has its combinations",
    )
    objective: Literal["accuracy", "front"] = Field(
        "accuracy",
        description="what tpe looks for: the highest accuracy on held-out images, or the front of accuracy and model "
        "size",
    )
    tolerance: float = Field(
        0.01, ge=0.0, le=1.0, description="accuracy given up for a smaller model when the winner is chosen"
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="when weak trials end before their time, {} for the usual; empty (null): never"
    )
    cpus: float = Field(2.0, gt=0.0, le=1_024, description="processors that Ray sets aside for a trial")
    gpus: float = Field(0.0, ge=0.0, le=64, description="graphics cards, or a share of one, of a trial")
    at_once: int | None = Field(
        None, ge=1, le=10_000, description="most trials at once; none: as many as there is room"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in self.space:
            if key.partition(".")[0] not in ("quantize", "train") or "." not in key:
                raise ValueError(f"space must name keys of quantize and train, such as quantize.size, got {key!r}")
        ranges = [key for key, values in self.space.items() if isinstance(values, Range)]
        if self.search == "grid" and ranges:
            raise ValueError(f"space: {ranges[0]} must be a list of values with search 'grid', got a range")
        if (self.search == "grid") != (self.trials is None):
            needed = "empty (null)" if self.search == "grid" else "a number"
            raise ValueError(f"trials must be {needed} with search {self.search!r}, got {self.trials}")
        if self.objective == "front" and self.search != "tpe":
            raise ValueError(f"objective must be 'accuracy' with search {self.search!r}, got 'front', which is for tpe")
        return self
