"""The train stage: fits a sparse non-negative head on presence scores and writes the bundle."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.head.config import TrainConfig as TrainConfig
    from protoquant.head.prune_plan import PrunePlan as PrunePlan
    from protoquant.head.train import TrainResult as TrainResult

__getattr__, __dir__, __all__ = lazily(__name__, PrunePlan="prune_plan", TrainConfig="config", TrainResult="train")
