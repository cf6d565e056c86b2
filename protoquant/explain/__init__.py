"""VISUALIZE: pictures and the report, drawn from what the other stages measured."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.explain.config import VisualizeConfig as VisualizeConfig
    from protoquant.explain.draw import explanation_figure as explanation_figure

__getattr__, __dir__, __all__ = lazily(__name__, VisualizeConfig="config", explanation_figure="draw")
