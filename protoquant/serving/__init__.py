"""Use a trained model: serve it over HTTP, or predict a folder of images."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.serving.config import ServeConfig as ServeConfig
    from protoquant.serving.service import create_app as create_app

__getattr__, __dir__, __all__ = lazily(__name__, ServeConfig="config", create_app="service")
