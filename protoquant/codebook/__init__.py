"""The quantize stage: learns a codebook from patch tokens and fits the linear probe."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.codebook.codebook import Codebook as Codebook
    from protoquant.codebook.config import QuantizeConfig as QuantizeConfig
    from protoquant.codebook.probe import LinearProbe as LinearProbe
    from protoquant.codebook.space.feature_norm import FeatureNorm as FeatureNorm

__getattr__, __dir__, __all__ = lazily(
    __name__, Codebook="codebook", FeatureNorm="space.feature_norm", LinearProbe="probe", QuantizeConfig="config"
)
