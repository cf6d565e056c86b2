"""The feature store: shards of patch tokens on disk, and the caches that keep them between runs."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.features.store.store import FeatureStore as FeatureStore
    from protoquant.features.store.writer import write_store as write_store

__getattr__, __dir__, __all__ = lazily(__name__, FeatureStore="store", write_store="writer")
