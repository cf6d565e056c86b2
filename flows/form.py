"""The form that the Prefect UI draws for an experiment: typed, bounded, described, filled from params.yaml.

Its fields are those of the sections themselves, so a bound or a choice is written once.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from protoquant.core.section import Section
from protoquant.core.workspace import Workspace
from protoquant.settings import Settings

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
"""What stands in the form, by key of params.yaml; ``overrides`` reaches the others."""


class RunOptions(BaseModel):
    """What a form holds beside the keys of params.yaml."""

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
        """Values by dotted key of params.yaml: those that were given, and the overrides.

        What a caller leaves out stays as the params.yaml of the revision has it.
        """
        given = {FIELDS[name]: getattr(self, name) for name in FIELDS if name in self.model_fields_set}
        return given | self.overrides


def experiment_form(clone: Path = CLONE) -> type[RunOptions]:
    """Build the form of an experiment.

    Args:
        clone: Its params.yaml fills the form.

    Raises:
        ConfigError: params.yaml is not valid.
    """
    settings = Settings.load(Workspace(clone).params)
    fields: dict[str, Any] = {}
    for position, (name, key) in enumerate(FIELDS.items()):
        section, attribute = _owner(settings, key)
        field = type(section).model_fields[attribute]
        shown = Field(
            getattr(section, attribute),
            title=key,
            description=field.description,
            json_schema_extra={"position": position},
        )
        fields[name] = (
            (Annotated[field.annotation, *field.metadata], shown) if field.metadata else (field.annotation, shown)
        )
    return create_model("Experiment", __base__=RunOptions, __doc__="What an experiment runs with.", **fields)


def _owner(settings: Settings, key: str) -> tuple[Section, str]:
    section, _, name = key.rpartition(".")
    if not section:
        return settings, name
    attributes = {field.alias or attribute: attribute for attribute, field in Settings.model_fields.items()}
    found: Section = getattr(settings, attributes[section])
    return found, name
