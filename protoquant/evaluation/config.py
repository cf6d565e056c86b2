"""The ``evaluate`` section of params.yaml."""

from typing import Literal

from pydantic import Field

from protoquant.core.section import Section
from protoquant.evaluation.groups.registry import GroupName, meanings

DEFAULT = ("sizes", "purity", "evidence", "distinctness", "stability", "deletion", "topk")
"""Groups that add little time."""


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
    metrics: tuple[GroupName, ...] = Field(
        DEFAULT, description=f"What is measured beside accuracy, sizes and codebook: {meanings()}."
    )
    stability_images: int | None = Field(
        None, ge=1, le=1_000_000, description="images of a split drawn at random for the group stability; null: all"
    )
    misalignment_images: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="images drawn at random for the group misalignment, seconds each; 64 for a table; 0: none",
    )
    corruption_images: int = Field(
        0, ge=0, le=1_000_000, description="images drawn at random for the group corruptions, 36 views each; 0: none"
    )
    purity_whole: bool = Field(
        False,
        description="whether purity is also measured in PIP-Net's view, the whole image squashed; a pass of its own",
    )
