"""VISUALIZE: draw the report, one HTML file that opens from disk."""

from dataclasses import dataclass
from pathlib import Path

from protoquant.core.artifacts import artifact_digest, open_artifact, writing
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.explain.config import VisualizeConfig
from protoquant.explain.report.compose import compose
from protoquant.explain.report.render import render
from protoquant.explain.sources import read_sources

KIND = "report"
PAGE = "index.html"


@dataclass(frozen=True)
class VisualizeResult:
    """The file of the report, and how much it shows.

    Attributes:
        page: The HTML file.
        explained: Number of explained test images.
        prototypes: Number of prototypes in the gallery.
        size: Size of the file, in bytes.
    """

    page: Path
    explained: int
    prototypes: int
    size: int


def visualize(
    config: VisualizeConfig,
    *,
    images: Path,
    root: Path,
    features: Path,
    bundle: Path,
    evaluation: Path,
    out: Path,
    on_event: OnEvent,
) -> VisualizeResult:
    """Draw the report.

    Args:
        config: How much the report shows, and how large its pictures are.
        images: Written by prepare.
        root: Root folder of the image files.
        features: Written by extract; only its test split is opened, for the score maps.
        bundle: Written by train.
        evaluation: Written by evaluate.
        out: Folder of the report.
        on_event: Receives progress and a message with the size of the report.

    Returns:
        The file of the report, and how much it shows.

    Raises:
        ArtifactError: An artifact is missing or damaged, or artifacts do not belong together.
        DataError: An image that the report shows cannot be read.
    """
    sources = read_sources(images=images, root=root, features=features, bundle=bundle, evaluation=evaluation)
    epsilon = float(open_artifact(evaluation, "evaluation", verify=False).extra["epsilon"])
    page = compose(config, sources, epsilon, on_event)
    inputs = {
        "bundle": artifact_digest(bundle),
        "evaluation": artifact_digest(evaluation),
        "features": sources.store.digest,
        "images": artifact_digest(images),
    }
    with writing(out, KIND, inputs) as folder:
        (folder / PAGE).write_text(render(page), encoding="utf-8", newline="\n")
    size = (out / PAGE).stat().st_size
    on_event(MessageEvent(f"report of {size / 2**20:.1f} MiB: {out / PAGE}"))
    shown = sum(len(group.cards) for group in page.groups)
    return VisualizeResult(out / PAGE, len(page.right) + len(page.wrong), shown, size)
