"""PREPARE: turns image files into one checked table of images and splits."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.data.config import PrepareConfig as PrepareConfig
    from protoquant.data.table import ImageTable as ImageTable

__getattr__, __dir__, __all__ = lazily(__name__, ImageTable="table", PrepareConfig="config")
