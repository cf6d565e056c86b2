"""Spreads the work of a step over processes of this machine or of a Ray cluster."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.distributed.cluster import Cluster as Cluster

__getattr__, __dir__, __all__ = lazily(__name__, Cluster="cluster")
