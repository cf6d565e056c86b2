"""The spec of the backbone behind some features, which suffices to rebuild it and to verify its weights."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from protoquant.core.errors import ArtifactError
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.config import LAST, ExtractConfig, TrainedOn, trained_on

WeightSource = Literal["packaged", "hub", "file"]


@dataclass(frozen=True)
class WeightsSpec:
    """The source and the digest of the weights.

    Attributes:
        source: ``packaged``, ``hub`` or ``file``.
        digest: SHA-256 over names, dtypes, shapes and bytes of the loaded state.
        file: Path as given in params.yaml; only with source ``file``.
        entry: Entry of the file as given in params.yaml; None for the first known one.
        trained_on: Which of our images the weights have seen, as given in params.yaml; None where it says nothing.
    """

    source: WeightSource
    digest: str
    file: str | None = None
    entry: str | None = None
    trained_on: TrainedOn | None = None

    @property
    def may_know_validation(self) -> bool:
        """Whether the weights may have seen validation images, which then promise too much."""
        return trained_on(self.source, self.trained_on) not in {"other", "train"}

    @classmethod
    def asked(cls, config: ExtractConfig) -> Self:
        """The weights that params.yaml asks for; their digest is not known yet, and empty."""
        return cls(config.weights, "", config.weights_file, config.weights_entry, config.weights_trained_on)

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON, without those that say nothing, as in versions that did not know them."""
        given = {"file": self.file, "entry": self.entry, "trained_on": self.trained_on}
        stated = {key: value for key, value in given.items() if value is not None}
        return {"source": self.source, "digest": self.digest, **stated}


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone by name, weights, preprocessing and strides.

    Attributes:
        name: timm's name of the model.
        weights: Source and digest.
        preprocessing: Resize, crop and normalisation.
        layers: Names of the layers whose tokens are the features, in the order of the network.
        output_stride: Pixels of a cell, kept by dilation; None for the model's own.
        patch_stride: Pixels from one patch to the next; None for patches side by side.
    """

    name: str
    weights: WeightsSpec
    preprocessing: Preprocessing
    layers: tuple[str, ...] = (LAST,)
    output_stride: int | None = None
    patch_stride: int | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what ``to_dict`` wrote.

        Raises:
            ArtifactError: A key is missing or unknown.
        """
        try:
            weights = WeightsSpec(**values["weights"])
            preprocessing = Preprocessing.from_dict(values["preprocessing"])
            layers = tuple(values.get("layers", (LAST,)))
            return cls(**(values | {"weights": weights, "preprocessing": preprocessing, "layers": layers}))
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"backbone holds other keys than this version knows: {sorted(values)}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; those of the last layer alone name no layer, as in versions that knew no other."""
        layers = {} if self.layers == (LAST,) else {"layers": list(self.layers)}
        preprocessing = self.preprocessing.to_dict()
        return {
            "name": self.name,
            "weights": self.weights.to_dict(),
            "preprocessing": preprocessing,
            **layers,
            **self.strides,
        }

    @property
    def strides(self) -> dict[str, int]:
        """The strides that are not the model's own, by key; an artifact without them names none."""
        given = {"output_stride": self.output_stride, "patch_stride": self.patch_stride}
        return {key: value for key, value in given.items() if value is not None}
