"""Drift in use: whether new images contain the parts that the training images contained."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.analysis.drift.account import DriftAnalysis as DriftAnalysis

__getattr__, __dir__, __all__ = lazily(__name__, DriftAnalysis="account")
