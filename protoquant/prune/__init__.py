"""Pruning, which removes prototypes or weights of a trained head according to a plan."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.prune.apply import prune_bundle as prune_bundle
    from protoquant.prune.rewrite import prune_and_write as prune_and_write

__getattr__, __dir__, __all__ = lazily(__name__, prune_and_write="rewrite", prune_bundle="apply")
