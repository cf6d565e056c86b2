"""The extract stage: computes the patch tokens of all images with a frozen backbone and stores them."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.features.config import ExtractConfig as ExtractConfig
    from protoquant.features.extract import ExtractResult as ExtractResult

__getattr__, __dir__, __all__ = lazily(__name__, ExtractConfig="config", ExtractResult="extract")
