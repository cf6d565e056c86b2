"""What cross-fitting works on, in memory."""

import torch
from torch import Tensor

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.tokens import TensorSource
from protoquant.head.choice.fold import CrossFitTask
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import BudgetConfig, ChoiceConfig, TrainConfig


def cross_fit_task(
    values: Tensor, labels: Tensor, *, size: int = 3, class_weights: ClassWeights | None = None, **train
) -> CrossFitTask:
    """A task over images in memory, with small codebooks and few heads."""
    defaults = {"temperature": (0.1, 0.3), "budget": BudgetConfig(sizes=(1, 3)), "choice": ChoiceConfig(folds=3)}
    quantize = QuantizeConfig(size=size, seeding_share=1.0, probe_penalties=(1.0, 0.1), feature_norm="l2")
    classes = int(labels.max()) + 1
    return CrossFitTask(
        TrainConfig(**(defaults | train)),
        quantize,
        TensorSource(values, labels),
        (),
        classes,
        class_weights,
        seed=0,
        device=torch.device("cpu"),
    )
