"""The section ``gates`` of params.yaml: the limits that a version must keep to become champion; no stage reads it."""

from typing import Self

from pydantic import Field, model_validator

from protoquant.core.errors import suggest
from protoquant.core.section import Section
from protoquant.evaluation.groups.registry import GROUPS
from protoquant.evaluation.metrics.registry import METRICS


class GatesConfig(Section):
    """How much worse than the present champion a new champion may be, on validation."""

    accuracy_drop: float | None = Field(
        0.01, ge=0.0, le=1.0, description="validation accuracy that may be lost; null, here and below: gate off"
    )
    class_size_rise: float | None = Field(
        1.0, ge=0.0, description="prototypes per class, on average, that may be added"
    )
    calibration_rise: float | None = Field(
        0.02, ge=0.0, le=1.0, description="calibration error on validation that may be added"
    )
    dead_rise: float | None = Field(
        0.05, ge=0.0, le=1.0, description="share of codes that no validation patch is nearest to, that may be added"
    )
    grounding_drop: float | None = Field(
        0.05, ge=0.0, le=2.0, description="mean cosine of prototypes with their nearest train patch that may be lost"
    )
    stability_drop: float | None = Field(
        0.05, ge=0.0, le=1.0, description="share of changed validation images with the same answer, that may be lost"
    )
    metrics: dict[str, float] | None = Field(
        None,
        description="how much worse a metric of evaluate may be, by its name: {stability.top_prototype: 0.05}; one "
        "that was not measured passes",
    )
    export: bool = Field(True, description="whether the model exported as ONNX must answer as the model does")
    lock: bool = Field(True, description="whether the dvc.lock that the version was made by must be committed")

    @model_validator(mode="after")
    def _known_metrics(self) -> Self:
        known = [metric.path for metric in METRICS if metric.better and _on_validation(metric.group)]
        for name, limit in (self.metrics or {}).items():
            if name not in known:
                near = suggest(name, known) or f"; such as {known[0]} (docs/glossary.md)"
                raise ValueError(
                    f"metrics: {name!r} is no metric that is better one way and measured on validation{near}"
                )
            if not limit >= 0:
                raise ValueError(f"metrics: {name} may be worse by 0 or more, got {limit:g}")
        return self


def _on_validation(group: str) -> bool:
    return group in GROUPS and "validation" in GROUPS[group].splits
