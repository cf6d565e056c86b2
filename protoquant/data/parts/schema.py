"""Which parts a data set annotates, and how."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from protoquant.core.errors import ArtifactError

_LEFT = re.compile(r"^left(?=[ _-])")


@dataclass(frozen=True)
class PartSchema:
    """The parts of a data set.

    Attributes:
        form: ``points`` (the place of a part in an image), ``masks`` (its pixels), or None: the data has no parts.
        parts: The parts that tell classes apart, in the order of their numbers.
        body: What belongs to the object but is no part; with masks only.
        mirrored: Maps a left part to its right twin, which many metrics count as one part.
        variants: For data whose classes are combinations of variants of the parts: the name of the variant by class
            and part.
    """

    form: Literal["points", "masks"] | None = None
    parts: tuple[str, ...] = ()
    body: str | None = None
    mirrored: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, str]] | None = None

    def plain(self) -> dict[str, Any]:
        """The schema as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def of_plain(cls, values: Any, source: str) -> Self:
        """Read what ``plain`` wrote.

        Args:
            values: The plain values.
            source: The file that an error names.

        Raises:
            ArtifactError: A key is missing or unknown.
        """
        if not isinstance(values, dict) or set(values) != set(cls.__dataclass_fields__):
            raise ArtifactError(f"{source} must hold {', '.join(cls.__dataclass_fields__)}; run prepare again")
        return cls(**{**values, "parts": tuple(values["parts"])})


def mirrored_by_name(parts: Iterable[str]) -> dict[str, str]:
    """Find left parts, such as ``left eye`` or ``left_eye``, whose right twin is a part too."""
    names = tuple(parts)
    twins = {name: _LEFT.sub("right", name) for name in names}
    return {name: twin for name, twin in twins.items() if twin != name and twin in names}
