"""Part annotations of images: points, masks and interventions, an artifact of their own beside the images."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.data.parts.schema import PartSchema as PartSchema
    from protoquant.data.parts.table import PartTable as PartTable

__getattr__, __dir__, __all__ = lazily(__name__, PartSchema="schema", PartTable="table")
