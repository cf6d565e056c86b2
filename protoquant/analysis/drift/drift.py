"""The drift step, which compares a folder of new images with the images that a model was made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protoquant.analysis.drift.account import DriftAnalysis, account, reference_of
from protoquant.analysis.drift.measure import measure
from protoquant.analysis.drift.page import render
from protoquant.analysis.drift.pictures import pictures
from protoquant.core.artifacts import digest_json, write_json, writing
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.core.result_folder import check_out
from protoquant.model.classifier import Model

KIND = "drift"
NUMBERS, PAGE = "drift.json", "drift.html"


@dataclass(frozen=True)
class DriftResult:
    """The drift analysis and the folder that holds it."""

    out: Path
    account: DriftAnalysis


def drift(
    model: Model,
    *,
    root: Path,
    names: Sequence[str],
    title: str,
    out: Path,
    workers: int,
    on_event: OnEvent,
) -> DriftResult:
    """Compare presence per prototype in new images with training, and write the numbers and a page.

    Args:
        model: The model; it is only read.
        root: The folder of the images.
        names: Their paths, relative to it.
        title: Name of the images on the page.
        out: Folder for the numbers and the page; an older result in it is replaced.
        workers: Threads that decode.
        on_event: Receives progress, and a warning about images that cannot be read.

    Raises:
        ArtifactError: The bundle is of an older version that kept no reference. DataError: No image can be read.
        UsageError: ``out`` holds something else.
    """
    check_out(out, KIND)
    reference_of(model.bundle)
    measured = measure(model, root=root, names=names, workers=workers, on_event=on_event)
    found = account(model.bundle, measured)
    if measured.bad:
        first = measured.bad[0]
        said = f"left out because they cannot be read: {len(measured.bad):,}, such as {first.name} ({first.kind})"
        on_event(MessageEvent(said, "warning"))
    shown = pictures(model.bundle, found, root)
    with writing(out, KIND, {"bundle": model.bundle.digest}, images=digest_json(list(names))) as folder:
        write_json(folder / NUMBERS, found.to_dict())
        page = render(found, shown, title=title, digest=model.bundle.digest)
        (folder / PAGE).write_text(page, encoding="utf-8")
    return DriftResult(out, found)
