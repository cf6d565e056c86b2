"""Reads, validates and edits params.yaml, and applies presets to it."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.settings.presets import preset_names as preset_names
    from protoquant.settings.settings import Settings as Settings
    from protoquant.settings.settings import read_params as read_params

__getattr__, __dir__, __all__ = lazily(__name__, Settings="settings", preset_names="presets", read_params="settings")
