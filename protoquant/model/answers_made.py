"""How a model's answers for images were made: by a model that was fitted on the image, or by one that was not."""

from collections.abc import Mapping
from typing import Any

HELD_OUT, CROSS_FITTED, IN_SAMPLE = "held_out", "cross_fitted", "in_sample"
"""By the model, not fitted on the image; by models of the same recipe that were not; by the model, fitted on it."""


def answers_made(metrics: Mapping[str, Any]) -> str:
    """How the validation answers of a bundle were made; bundles that do not say held validation out.

    Args:
        metrics: The metrics of the bundle.
    """
    made: Mapping[str, str] = metrics.get("answers", {})
    return made.get("validation", HELD_OUT)
