"""partbirds: the embedded dataset, a procedural renderer of fine-grained birds."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.data.partbirds.scene import sample_scene as sample_scene
    from protoquant.data.partbirds.spec import PartBirdsSpec as PartBirdsSpec
    from protoquant.data.partbirds.spec import load_spec as load_spec

__getattr__, __dir__, __all__ = lazily(__name__, PartBirdsSpec="spec", load_spec="spec", sample_scene="scene")
