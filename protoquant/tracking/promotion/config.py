"""The section ``gates`` of params.yaml: the limits that a version must keep to become champion; no stage reads it."""

from pydantic import Field

from protoquant.core.section import Section


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
    export: bool = Field(True, description="whether the model exported as ONNX must answer as the model does")
    lock: bool = Field(True, description="whether the dvc.lock that the version was made by must be committed")
