"""The sections quantize and train as they were by default while codes were free; frozen here.

Benchmarks whose published tables are of that default start from these values.
"""

from protoquant.codebook.config import QuantizeConfig
from protoquant.head.config import JointConfig, TrainConfig

FREE_JOINT = JointConfig(epochs=40, start_size=None, prototype_dropout=0.5, steadiness=0.0)


def free_quantize(**changes: object) -> QuantizeConfig:
    """Ten codes of each class, all of which stay."""
    return QuantizeConfig(size=10, keep=None).model_copy(update=changes)


def free_train(**changes: object) -> TrainConfig:
    """Free codes, trained with the head without a look at views."""
    return TrainConfig(codes="free", mixture=None, joint=FREE_JOINT).model_copy(update=changes)
