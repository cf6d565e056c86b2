"""Builds the forms that the Prefect UI draws: typed, bounded, described, filled from params.yaml.

Their fields are those of the sections themselves, so a bound or a choice is written once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from protoquant.core.section import Section
from protoquant.core.workspace import Workspace
from protoquant.settings.settings import Settings

CLONE = Path(__file__).resolve().parents[1]
"""The clone whose pipeline the flows run."""

FIELDS = {
    "reader": "prepare.reader",
    "root": "prepare.root",
    "backbone": "extract.backbone",
    "weights": "extract.weights",
    "size": "quantize.size",
    "size_unit": "quantize.size_unit",
    "tolerance": "train.tolerance",
    "max_class_size": "train.max_class_size",
    "seed": "seed",
    "name": "register.name",
}
"""Fields of the form with their keys in params.yaml; ``overrides`` reaches all other keys."""


SWEEP_FIELDS = {
    "space": "sweep.space",
    "search": "sweep.search",
    "trials": "sweep.trials",
    "objective": "sweep.objective",
    "tolerance": "sweep.tolerance",
    "at_once": "sweep.at_once",
}
"""The same for a sweep."""


class RunOptions(BaseModel):
    """What a form holds beside the keys of params.yaml."""

    key_of: ClassVar[Mapping[str, str]] = FIELDS
    model_config = ConfigDict(extra="forbid", frozen=True)

    overrides: dict[str, JsonValue] = Field(
        default_factory=dict,
        description='any other key of params.yaml and its value, as {"train.temperature": 0.05}; '
        "they are checked as params.yaml is, and win over the fields of this form",
        json_schema_extra={"position": 90},
    )
    revision: str = Field(
        "HEAD",
        min_length=1,
        max_length=200,
        description="commit, branch or tag of the runner's clone that is run, code included",
        json_schema_extra={"position": 91},
    )
    uncommitted: Literal["refuse", "take", "leave"] = Field(
        "refuse",
        description="edits of tracked files of the runner's clone that are in no commit: refuse to run, "
        "take them along, or leave them where they are and run the commit",
        json_schema_extra={"position": 92},
    )

    def changes(self) -> dict[str, Any]:
        """Return the given values and the overrides, by dotted key of params.yaml.

        A key that the caller leaves out keeps its value in the revision's params.yaml.
        """
        given = {key: getattr(self, name) for name, key in self.key_of.items() if name in self.model_fields_set}
        return given | self.overrides


class SweepOptions(RunOptions):
    """What the form of a sweep holds beside the keys of section ``sweep``."""

    key_of: ClassVar[Mapping[str, str]] = SWEEP_FIELDS
    sweep: str = Field(
        "sweep",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,23}$",
        description="name of the sweep; with the name of the run it is its folder in artifacts/sweeps",
        json_schema_extra={"position": 0},
    )
    space: dict[str, JsonValue] = Field(
        default_factory=dict,
        title="sweep.space",
        description="keys of quantize and train with the values to try: a list, or {low, high, log} (random, tpe)",
        json_schema_extra={"position": 1},
    )


def sweep_form(clone: Path = CLONE) -> type[SweepOptions]:
    """Build the form of a sweep.

    Args:
        clone: The clone whose params.yaml fills the form.

    Raises:
        ConfigError: params.yaml is not valid.
    """
    settings = Settings.load(Workspace(clone).params)
    space = SweepOptions.model_fields["space"]
    own = Field(
        settings.sweep.model_dump(mode="json")["space"],
        title=space.title,
        description=space.description,
        json_schema_extra={"position": 1},
    )
    shown = {name: key for name, key in SWEEP_FIELDS.items() if name != "space"}
    fields = {"space": (dict[str, JsonValue], own)} | _fields(settings, shown, start=2)
    return create_model("Sweep", __base__=SweepOptions, __doc__="What a sweep tries.", **fields)


def experiment_form(clone: Path = CLONE) -> type[RunOptions]:
    """Build the form of an experiment.

    Args:
        clone: The clone whose params.yaml fills the form.

    Raises:
        ConfigError: params.yaml is not valid.
    """
    fields = _fields(Settings.load(Workspace(clone).params), FIELDS)
    return create_model("Experiment", __base__=RunOptions, __doc__="What an experiment runs with.", **fields)


def _fields(settings: Settings, shown: Mapping[str, str], start: int = 0) -> dict[str, Any]:
    """Build the fields of a form, with the bounds, descriptions and values of the sections."""
    fields: dict[str, Any] = {}
    for position, (name, key) in enumerate(shown.items(), start=start):
        section, attribute = _owner(settings, key)
        field = type(section).model_fields[attribute]
        drawn = Field(
            getattr(section, attribute),
            title=key,
            description=field.description,
            json_schema_extra={"position": position},
        )
        fields[name] = (
            (Annotated[field.annotation, *field.metadata], drawn) if field.metadata else (field.annotation, drawn)
        )
    return fields


def _owner(settings: Settings, key: str) -> tuple[Section, str]:
    section, _, name = key.rpartition(".")
    if not section:
        return settings, name
    attributes = {field.alias or attribute: attribute for attribute, field in Settings.model_fields.items()}
    found: Section = getattr(settings, attributes[section])
    return found, name
