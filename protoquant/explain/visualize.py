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
    """Where the report is and what it shows.

    Attributes:
        page: The HTML file.
        explained: Explained test images.
        prototypes: Prototypes in the gallery.
        size: Of the file, in bytes.
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
        config: How much is shown, and how large.
        images: Written by prepare.
        root: Where the image files are.
        features: Written by extract; only its test split is opened, for the score maps.
        bundle: Written by train.
        evaluation: Written by evaluate.
        out: Folder of the report.
        on_event: Told of progress.

    Returns:
        Where the page is and what it shows.

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
