"""The ``register`` section of params.yaml."""

import re

from pydantic import Field, field_validator

from protoquant.core.section import Section

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_ALIAS = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class RegisterConfig(Section):
    """Where the trained model goes in the model registry."""

    name: str = Field(
        "protoquant",
        min_length=1,
        max_length=100,
        pattern=_NAME,
        description="name of the registered model; letters, digits and _ . - (also the name of the MLflow experiment)",
    )
    alias: str = Field(
        "challenger",
        min_length=1,
        max_length=100,
        pattern=_ALIAS,
        description="alias that points to the version of the current bundle, as in models:/NAME@challenger",
    )

    @field_validator("alias")
    @classmethod
    def _not_reserved(cls, alias: str) -> str:
        """MLflow reserves ``latest`` and ``v1``, ``v2``, ...; ``champion`` moves only through the gates."""
        if alias.lower() == "champion":
            message = f"must not be {alias!r}, which only protoquant registry promote gives; take 'challenger'"
            raise ValueError(message)
        if alias.lower() == "latest" or re.fullmatch(r"v\d+", alias, flags=re.IGNORECASE):
            message = f"must not be 'latest' or a version such as 'v1', which MLflow reserves, got {alias!r}"
            raise ValueError(message)
        return alias
