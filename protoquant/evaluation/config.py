"""The ``evaluate`` section of params.yaml."""

from typing import Literal

from pydantic import Field

from protoquant.core.section import Section


class EvaluateConfig(Section):
    """What is measured on the test split, and how finely."""

    level: float = Field(0.95, gt=0.5, lt=1.0, description="share of the bootstrap distribution inside every interval")
    resamples: int = Field(2000, ge=100, le=100_000, description="bootstrap resamples of the test images")
    interval: Literal["percentile", "bca"] = Field(
        "percentile", description="kind of interval; bca corrects bias and skew, and is slow above 10,000 images"
    )
    bins: int = Field(15, ge=2, le=100, description="equally wide confidence bins of the calibration error")
    epsilon: float = Field(
        1e-3, ge=0.0, le=1.0, description="contribution above which a prototype counts in local_size"
    )
    cover: float = Field(0.9, gt=0.0, le=1.0, description="share of the logit that cover_size prototypes explain")
    decimals: int = Field(4, ge=2, le=10, description="decimals of every number in metrics.json")
    stability_images: int = Field(
        64,
        ge=0,
        le=1_000_000,
        description="test images, drawn at random, on which stability under JPEG, blur, shift and noise is measured; "
        "0: none",
    )
