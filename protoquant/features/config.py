"""The ``extract`` section of params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from protoquant.core.section import Section

LAST = "last"
"""Name of the layer before the backbone's own pooling."""
PACKAGED = ("tf_efficientnet_lite0",)
TrainedOn = Literal["other", "train", "train+validation", "unknown"]
"""Which of our images the backbone's weights have seen."""
Count = Annotated[int, Field(ge=1)]


class AugmentConfig(Section):
    """How far an augmented view may differ from the image."""

    area: tuple[float, float] = Field(
        (0.5, 1.0), description="least and most area of a view's crop, as a share of the largest crop of its shape"
    )
    ratio: tuple[float, float] = Field(
        (0.75, 1.3333),
        description="least and most width by height of a view's crop, against the plain view's; stretched back",
    )
    flip: float = Field(0.5, ge=0, le=1, description="share of views whose left and right change places")
    brightness: float = Field(0.2, ge=0, lt=1, description="largest change, as a share of the brightness")
    contrast: float = Field(0.2, ge=0, lt=1, description="largest change, as a share of the contrast")
    saturation: float = Field(0.2, ge=0, lt=1, description="largest change, as a share of the saturation")

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> Self:
        low, high = self.area
        if not 0.01 <= low <= high <= 1:
            raise ValueError(f"area must be two shares in [0.01, 1], the smaller first, got {list(self.area)}")
        low, high = self.ratio
        if not 0.1 <= low <= high <= 10:
            raise ValueError(f"ratio must be two numbers in [0.1, 10], the smaller first, got {list(self.ratio)}")
        return self


class ExtractConfig(Section):
    """Which backbone looks at the images, and how its patch tokens are stored."""

    backbone: str = Field("tf_efficientnet_lite0", min_length=1, description="timm's name of the model")
    weights: Literal["packaged", "hub", "file"] = Field(
        "packaged", description="packaged (installed with the project), hub (timm's download) or file"
    )
    weights_file: str | None = Field(
        None,
        description="safetensors or torch checkpoint, also as training scripts write it (docs/backbones.md); with "
        "weights: file only",
    )
    weights_entry: str | None = Field(
        None,
        min_length=1,
        description="entry of the checkpoint that holds the weights, such as state_dict (raw) or state_dict_ema; with "
        "weights: file only; none: the first of state_dict_ema, model_ema, state_dict, model that is there",
    )
    weights_trained_on: TrainedOn | None = Field(
        None,
        description="which of our images the weights have seen: other (none of them), train, train+validation or "
        "unknown; extract warns where that may be those of validation; none: unknown with weights: file, else other",
    )
    layers: tuple[str, ...] = Field(
        (LAST,),
        min_length=1,
        max_length=20,
        description="layers of the backbone whose patch tokens are the features, in its order; last is that before its "
        "own pooling, the others bear the names that protoquant backbones shows and lie on finer grids",
    )
    view: Literal["center", "squash", "pad"] = Field(
        "center",
        description="what of an image the backbone sees; center: as the weights were evaluated, which mostly cuts its "
        "edges off; squash: all of it, stretched to the input; pad: all of it, in its shape, with margins of the mean "
        "colour",
    )
    input_size: Count | tuple[int, int] | None = Field(
        None,
        description="side, or height and width, of the input that the backbone sees, in pixels; a multiple of its "
        "stride; none: the backbone's own, or as grid says",
    )
    grid: Count | tuple[int, int] | None = Field(
        None,
        description="instead of input_size: cells of the backbone's last map, one number or rows and columns; none: as "
        "input_size says",
    )
    output_stride: Literal[8, 16] | None = Field(
        None,
        description="with a convolutional backbone: pixels of a cell of the last map, kept by dilation, for a finer "
        "grid of the same input; none: the backbone's own, mostly 32",
    )
    patch_stride: Count | None = Field(
        None,
        description="with a plain vision transformer: pixels from one patch to the next, a divisor of the patch's "
        "side, for overlapping patches and a finer grid; none: patches side by side",
    )
    dtype: Literal["float16", "bfloat16", "float32", "int8"] = Field(
        "float16", description="number format of the stored tokens; int8 has a scale for each token"
    )
    batch: int = Field(
        8, ge=1, le=4096, description="images per forward pass; fixed, since it decides the rounding (8: CPU caches)"
    )
    shard: int = Field(512, ge=1, le=65536, description="images per file of the store")
    views: int = Field(
        0, ge=0, le=99, description="augmented views of each train image, stored beside the plain one; 0 for none"
    )
    augment: AugmentConfig | None = Field(None, description="how views differ; empty (null) without views")

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
        if self.weights != "file" and self.weights_entry:
            raise ValueError(
                f"weights_entry has no effect with weights: {self.weights}; set weights to file or remove it"
            )
        return self

    @property
    def trained_on(self) -> TrainedOn:
        """Which of our images the weights have seen, as far as is known."""
        return trained_on(self.weights, self.weights_trained_on)

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        for key, value, unit in (("input_size", self.input_size, "pixel"), ("grid", self.grid, "cell")):
            if isinstance(value, tuple) and min(value) < 1:
                raise ValueError(f"{key} must be two sides of at least 1 {unit}, got {list(value)}")
        if self.grid is not None and self.input_size is not None:
            raise ValueError("grid and input_size are two ways to say one thing; remove one of them")
        return self

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        if self.layers[-1] != LAST or len(set(self.layers)) != len(self.layers):
            raise ValueError(f"layers must each be named once and end with {LAST}, got {list(self.layers)}")
        return self

    @model_validator(mode="after")
    def _views_fit(self) -> Self:
        if self.views and self.augment is None:
            mild = ", ".join(f"{key}: {value}" for key, value in AugmentConfig().model_dump(mode="json").items())
            raise ValueError(f"views: {self.views} needs augment; the usual is augment: {{{mild}}}")
        if self.augment is not None and not self.views:
            raise ValueError("augment has no effect with views: 0; set views to 1 or more or remove it")
        return self


def trained_on(source: str, stated: TrainedOn | None) -> TrainedOn:
    """Which of our images weights have seen: what is stated, or what their source says."""
    return stated or ("unknown" if source == "file" else "other")
