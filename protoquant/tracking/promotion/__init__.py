"""From challenger to champion: the gates, the lock, the way back."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.tracking.promotion.config import GatesConfig as GatesConfig

__getattr__, __dir__, __all__ = lazily(__name__, GatesConfig="config")
