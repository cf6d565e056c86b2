"""The params section ``quantize``."""

from typing import Literal, Self

from pydantic import Field, model_validator

from protoquant.core.section import Section

FeatureNormName = Literal["l2", "center_l2"]
Seeding = Literal["random", "kmeans++", "class_aware"]
