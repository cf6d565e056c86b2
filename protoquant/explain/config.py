"""The ``visualize`` section of params.yaml."""

from pydantic import Field

from protoquant.core.section import Section


class VisualizeConfig(Section):
    """How much the report shows, and how large its pictures are."""

    title: str = Field("ProtoQuant report", min_length=1, max_length=120, description="heading of the report")
    prototypes_per_class: int = Field(4, ge=1, le=100, description="prototypes that the gallery shows for each class")
    max_prototypes: int = Field(400, ge=1, le=5000, description="prototypes that the whole gallery shows")
    patches: int = Field(4, ge=1, le=8, description="training patches shown for each prototype")
    right: int = Field(6, ge=0, le=100, description="explained test images that the model gets right")
    wrong: int = Field(6, ge=0, le=100, description="explained test images that the model gets wrong")
    parts: int = Field(5, ge=1, le=50, description="contributions drawn for each explained image; the rest is one sum")
    image_size: int = Field(224, ge=64, le=1024, description="longer side of every embedded picture, in pixels")
    quality: int = Field(78, ge=30, le=100, description="WebP quality of every embedded picture")
