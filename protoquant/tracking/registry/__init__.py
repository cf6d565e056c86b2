"""Name, list and fetch registered model versions, and let MLflow serve the model."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.tracking.registry.fetch import fetch_bundle as fetch_bundle

__getattr__, __dir__, __all__ = lazily(__name__, fetch_bundle="fetch")
