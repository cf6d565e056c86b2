"""All sections of params.yaml as one validated value, read once at the entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from protoquant.codebook.config import QuantizeConfig, read_layers
from protoquant.core.errors import ConfigError, one_line
from protoquant.core.section import Section
from protoquant.data.config import PrepareConfig
from protoquant.evaluation.config import EvaluateConfig
from protoquant.explain.config import VisualizeConfig
from protoquant.features.config import ExtractConfig
from protoquant.head.config import TrainConfig, check_views
from protoquant.settings.sweep_section import SweepConfig
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.promotion.config import GatesConfig


class Settings(Section):
    """params.yaml: two numbers for every stage, one section each, then what no stage reads."""

    seed: int = Field(0, ge=0, description="start of every random stream")
    threads: int = Field(2, ge=1, le=1024, description="CPU threads of one operation; another count rounds differently")
    prepare: PrepareConfig = Field(default_factory=PrepareConfig)
    extract: ExtractConfig = Field(default_factory=ExtractConfig)
    quantize: QuantizeConfig = Field(default_factory=QuantizeConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    visualize: VisualizeConfig = Field(default_factory=VisualizeConfig)
    register_: RegisterConfig = Field(default_factory=RegisterConfig, alias="register")
    sweep: SweepConfig = Field(default_factory=SweepConfig)
    gates: GatesConfig = Field(default_factory=GatesConfig)

    @classmethod
    def parse(cls, values: object, where: str = "", source: str = "params.yaml") -> Self:
        """Validate plain values, and hold ``quantize`` and ``train`` against ``extract``, if it is there.

        Args:
            values: As for :meth:`Section.parse`.
            where: As for :meth:`Section.parse`.
            source: As for :meth:`Section.parse`.

        Raises:
            ConfigError: As for :meth:`Section.parse`, or sections do not fit together.
        """
        settings = super().parse(values, where, source)
        if isinstance(values, dict) and "extract" in values:  # the plan of a sweep holds the searched sections alone
            read_layers(settings.quantize, settings.extract.layers)
            check_views(settings.train, settings.extract.views)
        return settings

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate params.yaml.

        Raises:
            ConfigError: The file is missing, is not YAML, or holds an unknown key or impossible value.
        """
        return cls.parse(read_params(path), source=path.name)


def read_params(path: Path) -> dict[str, Any]:
    """Read params.yaml as plain values, without validation.

    Raises:
        ConfigError: The file is missing or is not YAML.
    """
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no {path.name} in {path.parent.resolve()}; run from the project's folder") from error
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        reason = one_line(error)
        raise ConfigError(f"{path.name} is not valid YAML: {reason}") from error
    return values if values is not None else {}
