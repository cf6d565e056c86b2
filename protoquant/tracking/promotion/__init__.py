"""Promote a challenger to champion through gates and under a lock, and roll a champion back."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.tracking.promotion.config import GatesConfig as GatesConfig

__getattr__, __dir__, __all__ = lazily(__name__, GatesConfig="config")
