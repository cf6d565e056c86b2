"""What an artifact says of the backbone that made its features; no weights are behind it."""

from protoquant.features.backbone.preprocessing import Mode, Preprocessing
from protoquant.features.backbone.spec import BackboneSpec, WeightSource, WeightsSpec

HALF = (0.5, 0.5, 0.5)
DIGEST = "a" * 64


def preprocessing(
    crop: tuple[int, int] = (64, 64), resize: tuple[int, int] | None = None, mode: Mode = "squash"
) -> Preprocessing:
    """A view of (height, width) pixels; it is of the whole image where no resize is given."""
    return Preprocessing(resize or crop, crop, mode, "bicubic", HALF, HALF)


def spec(
    name: str = "test_convnext",
    *,
    digest: str = DIGEST,
    file: str | None = None,
    view: Preprocessing | None = None,
    layers: tuple[str, ...] = ("last",),
) -> BackboneSpec:
    """A backbone whose weights are packaged, or in a file where one is named."""
    source: WeightSource = "file" if file else "packaged"
    return BackboneSpec(name, WeightsSpec(source, digest, file), view or preprocessing(), layers)
