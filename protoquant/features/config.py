"""The ``extract`` section of params.yaml."""

from typing import Literal, Self

from pydantic import Field, model_validator

from protoquant.core.section import Section

PACKAGED = ("tf_efficientnet_lite0",)


class ExtractConfig(Section):
    """Which backbone looks at the images, and how its patch tokens are stored."""

    backbone: str = Field("tf_efficientnet_lite0", min_length=1, description="timm's name of the model")
    weights: Literal["packaged", "hub", "file"] = Field(
        "packaged", description="packaged (installed with the project), hub (timm's download) or file"
    )
    weights_file: str | None = Field(
        None,
        description="safetensors or torch checkpoint of the whole model; with weights: file only; "
        "DVC does not watch it, so after a change of the file: dvc repro --force extract",
    )
    input_size: tuple[int, int] | None = Field(
        None, description="height and width of the crop that the backbone sees, in pixels; none: the backbone's own"
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="number format of the stored tokens")
    batch: int = Field(
        8, ge=1, le=4096, description="images per forward pass; fixed, since it decides the rounding (8: CPU caches)"
    )
    shard: int = Field(512, ge=1, le=65536, description="images per file of the store")

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights == "packaged" and self.backbone.partition(".")[0] not in PACKAGED:
            raise ValueError(
                f"packaged weights are those of {', '.join(PACKAGED)}, got backbone {self.backbone!r}; "
                "set extract.weights to hub or file"
            )
        if self.weights == "file" and not self.weights_file:
            raise ValueError("weights: file needs weights_file, the path of the checkpoint")
        if self.weights != "file" and self.weights_file:
            raise ValueError(
                f"weights_file has no effect with weights: {self.weights}; set weights to file or remove it"
            )
        if self.input_size is not None and min(self.input_size) < 1:
            raise ValueError(f"input_size must be two sides of at least 1 pixel, got {list(self.input_size)}")
        return self
