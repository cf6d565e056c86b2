"""The doctor step: looks through a data set and writes what it found; it changes no image and leaves none out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from protoquant.core.artifacts import write_json, writing
from protoquant.core.events import OnEvent
from protoquant.core.result_folder import check_out
from protoquant.doctor.diagnosis import Diagnosis, diagnose
from protoquant.doctor.page import render
from protoquant.doctor.pictures import shown, thumbnails
from protoquant.doctor.survey import MOST, survey

if TYPE_CHECKING:
    from protoquant.data.config import PrepareConfig

KIND = "doctor"
NUMBERS, PAGE, SUSPECTS = "doctor.json", "doctor.html", "suspects.csv"


@dataclass(frozen=True)
class DoctorResult:
    """The diagnosis and the folder that holds it."""

    out: Path
    diagnosis: Diagnosis


def doctor(
    config: PrepareConfig,
    *,
    root: Path,
    title: str,
    features: Path | None,
    out: Path,
    seed: int,
    workers: int,
    on_event: OnEvent,
    exclude: Path | None = None,
    most: int = MOST,
) -> DoctorResult:
    """Look through a data set and write the page, the numbers and the list of suspects.

    Args:
        config: The ``prepare`` section.
        root: ``prepare.root`` as a path.
        title: Name of the data set on the page.
        features: Features of the data as extract writes them; None: labels are not doubted.
        out: Folder of the result; an older result in it is replaced.
        seed: The seed of params.yaml, for splits that are cut.
        workers: Threads that decode; the result does not depend on them.
        on_event: Receives progress.
        exclude: ``prepare.exclude`` as a path.
        most: Images that are looked at; see ``survey``.

    Raises:
        UsageError: ``out`` holds something else. DataError: The data cannot be listed, no image can be used, or the
            features are of other images. ArtifactError: There are no such features.
    """
    check_out(out, KIND)
    doubts = None
    if features is not None:
        from protoquant.doctor.train_features import doubts_of

        doubts = doubts_of(features)
    with TemporaryDirectory() as drawn:
        seen = survey(
            config,
            root=root,
            drawn=Path(drawn),
            seed=seed,
            workers=workers,
            on_event=on_event,
            exclude=exclude,
            most=most,
        )
        found = diagnose(seen, doubts, on_event)
        chosen = shown(found.by_kind)
        images = [image for ones in chosen.values() for one in ones for image in one.images]
        pictures = thumbnails(images, seen.folder, workers, on_event)
    with writing(out, KIND) as folder:
        write_json(folder / NUMBERS, found.to_dict())
        (folder / SUSPECTS).write_text(found.suspects(), encoding="utf-8")
        (folder / PAGE).write_text(render(found, chosen, pictures, title=title), encoding="utf-8")
    return DoctorResult(out, found)
