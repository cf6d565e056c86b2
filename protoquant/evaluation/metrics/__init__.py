"""The metrics of the test split: a module for each kind, and the registry of their names, units and meanings."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.evaluation.metrics.registry import METRICS as METRICS
    from protoquant.evaluation.metrics.registry import Metric as Metric

__getattr__, __dir__, __all__ = lazily(__name__, METRICS="registry", Metric="registry")
