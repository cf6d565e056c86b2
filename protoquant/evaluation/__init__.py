"""EVALUATE: the one stage that reads the test split; it measures and changes nothing."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.evaluation.config import EvaluateConfig as EvaluateConfig

__getattr__, __dir__, __all__ = lazily(__name__, EvaluateConfig="config")
