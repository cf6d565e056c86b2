"""Foundations of every other package: errors, events, artifacts, params sections, seeds and the device."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.core.errors import ArtifactError as ArtifactError
    from protoquant.core.errors import ConfigError as ConfigError
    from protoquant.core.errors import DataError as DataError
    from protoquant.core.errors import ProtoQuantError as ProtoQuantError
    from protoquant.core.errors import UsageError as UsageError
    from protoquant.core.runtime import Runtime as Runtime
    from protoquant.core.workspace import Workspace as Workspace

__getattr__, __dir__, __all__ = lazily(
    __name__,
    ArtifactError="errors",
    ConfigError="errors",
    DataError="errors",
    ProtoQuantError="errors",
    Runtime="runtime",
    UsageError="errors",
    Workspace="workspace",
)
