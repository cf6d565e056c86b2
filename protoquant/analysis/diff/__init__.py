"""Two models side by side: their answers, their numbers, their prototypes."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.analysis.diff.diff import Diff as Diff

__getattr__, __dir__, __all__ = lazily(__name__, Diff="diff")
