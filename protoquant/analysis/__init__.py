"""Analyses of trained models: on another data set, beside each other, and on images in use."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.analysis.assess import Assessment as Assessment

__getattr__, __dir__, __all__ = lazily(__name__, Assessment="assess")
