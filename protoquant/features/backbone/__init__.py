"""The frozen backbone: its weights, its preprocessing, and the grid of patch tokens that it computes."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.features.backbone.backbone import Backbone as Backbone
    from protoquant.features.backbone.catalogue import backbone_names as backbone_names
    from protoquant.features.backbone.preprocessing import Preprocessing as Preprocessing
    from protoquant.features.backbone.spec import BackboneSpec as BackboneSpec

__getattr__, __dir__, __all__ = lazily(
    __name__, Backbone="backbone", BackboneSpec="spec", Preprocessing="preprocessing", backbone_names="catalogue"
)
