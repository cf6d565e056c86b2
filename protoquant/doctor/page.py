"""The page of a diagnosis: one HTML file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from protoquant.doctor.diagnosis import Diagnosis
from protoquant.doctor.findings import FACTS, FindingKind, Severity
from protoquant.doctor.pictures import ShownFinding
from protoquant.pages.template import render_template

_GLYPHS = {Severity.SERIOUS: "\N{MULTIPLICATION SIGN}", Severity.WARNING: "!", Severity.HINT: "?"}


def render(
    diagnosis: Diagnosis,
    shown: Mapping[FindingKind, Sequence[ShownFinding]],
    pictures: Mapping[str, str],
    *,
    title: str,
) -> str:
    """Write the page.

    Args:
        diagnosis: The diagnosis.
        shown: The findings with pictures, by kind.
        pictures: ``data:`` URIs by path, of the images that can be opened.
        title: Name of the data set.

    Returns:
        The document; every value is escaped; the same diagnosis gives the same text.
    """
    return render_template(
        __name__,
        "page.html",
        title=title,
        diagnosis=diagnosis,
        survey=diagnosis.survey,
        by_kind=diagnosis.by_kind,
        shown=shown,
        pictures=pictures,
        clear=[FACTS[kind].title for kind in diagnosis.clear],
        facts=FACTS,
        glyphs=_GLYPHS,
        name=lambda path: PurePosixPath(path).name,
    )
