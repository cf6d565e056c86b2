"""ProtoQuant: image classifiers that explain themselves with parts."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from protoquant.model import Model

__all__ = ["__version__", "load"]
__version__ = version("protoquant")


def load(source: str | Path, *, device: str = "auto", weights: Path | None = None) -> Model:
    """Open a trained model, from its bundle or from an MLflow registry.

    Args:
        source: A bundle folder, or a URI such as ``models:/NAME@challenger``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        weights: The backbone's weight file, where the bundle was trained with ``extract.weights: file``.

    Returns:
        A model with ``predict(images)`` and ``explain(image)``.

    Raises:
        ArtifactError: There is no such bundle, or it is damaged.
        UsageError: The registry does not know the name.
    """
    raise NotImplementedError
