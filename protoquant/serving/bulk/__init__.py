"""Predict a folder of images and write the answers as one table."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.serving.bulk.bulk import predict_folder as predict_folder

__getattr__, __dir__, __all__ = lazily(__name__, predict_folder="bulk")
