"""ProtoQuant: image classifiers that explain themselves with parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from protoquant.model.classifier import Model

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(source: str | Path, *, device: str | None = None, weights: Path | None = None, tables: bool = True) -> Model:
    """Open a trained model, from its bundle or from an MLflow registry.

    Args:
        source: A bundle folder, or a URI such as ``models:/NAME@challenger``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; what ``PROTOQUANT_DEVICE`` says if absent.
        weights: The backbone's weight file, where the bundle was trained with ``extract.weights: file``.
        tables: Whether the bundle's tables, where explanations come from, are read now, or when they are asked for.

    Returns:
        A model with ``predict(images)`` and ``explain(image)``.

    Raises:
        ArtifactError: There is no such bundle, it is damaged, or it is not the one that was registered.
        UsageError: The registry does not know the name, or there is no such device.
    """
    from pathlib import Path

    from protoquant.core.runtime import Runtime
    from protoquant.model.classifier import Model
    from protoquant.tracking.registry.source import is_uri

    bundle = Path(source)
    if is_uri(source):
        from protoquant.core.workspace import Workspace
        from protoquant.tracking.registry.fetch import fetch_bundle

        fetched = fetch_bundle(str(source), workspace=Workspace(Path.cwd()))
        bundle, weights = fetched.bundle, weights or fetched.weights
    return Model.load(bundle, device=Runtime.from_environment(device).torch_device(), weights=weights, tables=tables)
