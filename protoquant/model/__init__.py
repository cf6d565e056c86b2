"""A trained model: the bundle on disk, its answers and the evidence for them."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.model.answer import Answer as Answer
    from protoquant.model.bundle import Bundle as Bundle
    from protoquant.model.classifier import ImageLike as ImageLike
    from protoquant.model.classifier import Model as Model
    from protoquant.model.explanation import Explanation as Explanation
    from protoquant.model.explanation import Prediction as Prediction

__getattr__, __dir__, __all__ = lazily(
    __name__,
    Answer="answer",
    Bundle="bundle",
    Explanation="explanation",
    ImageLike="classifier",
    Model="classifier",
    Prediction="explanation",
)
