"""The spec of the backbone behind some features, which suffices to rebuild it and to verify its weights."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from protoquant.core.errors import ArtifactError
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.config import LAST

WeightSource = Literal["packaged", "hub", "file"]


@dataclass(frozen=True)
class WeightsSpec:
    """The source and the digest of the weights.

    Attributes:
        source: ``packaged``, ``hub`` or ``file``.
        digest: SHA-256 over names, dtypes, shapes and bytes of the loaded state.
        file: Path as given in params.yaml; only with source ``file``.
    """

    source: WeightSource
    digest: str
    file: str | None = None


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone by name, weights and preprocessing.

    Attributes:
        name: timm's name of the model.
        weights: Source and digest.
        preprocessing: Resize, crop and normalisation.
        layers: Names of the layers whose tokens are the features, in the order of the network.
    """

    name: str
    weights: WeightsSpec
    preprocessing: Preprocessing
    layers: tuple[str, ...] = (LAST,)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what ``to_dict`` wrote.

        Raises:
            ArtifactError: A key is missing or unknown.
        """
        try:
            weights = WeightsSpec(**values["weights"])
            layers = tuple(values.get("layers", (LAST,)))
            return cls(values["name"], weights, Preprocessing.from_dict(values["preprocessing"]), layers)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"backbone holds other keys than this version knows: {sorted(values)}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; those of the last layer alone name no layer, as in versions that knew no other."""
        weights = {"source": self.weights.source, "digest": self.weights.digest}
        if self.weights.file is not None:
            weights["file"] = self.weights.file
        layers = {} if self.layers == (LAST,) else {"layers": list(self.layers)}
        return {"name": self.name, "weights": weights, "preprocessing": self.preprocessing.to_dict(), **layers}
