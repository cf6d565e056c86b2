"""Studies of pruning, which compare strategies over bootstrap draws of the train images."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.prune.study.config import StudyConfig as StudyConfig

__getattr__, __dir__, __all__ = lazily(__name__, StudyConfig="config")
