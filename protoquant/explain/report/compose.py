"""Composing the page from the sources: its numbers, pictures and words."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from protoquant.core.events import OnEvent, track
from protoquant.explain.album import Album
from protoquant.explain.charts import Dots, Histogram, dots, histogram
from protoquant.explain.config import VisualizeConfig
from protoquant.explain.figures import Curve, CurvePoint, PathPoint, axis, join, most_confused, path_curve, squares
from protoquant.explain.gallery import Gallery, GalleryPrototype, Patch, gallery, speaking
from protoquant.explain.ledger import choose
from protoquant.explain.report import words
from protoquant.explain.report.accounts import ScoreMap, Witness, explain_image, place, place_seen
from protoquant.explain.report.page import ClassGroup, ClassMetricsRow, Confusion, Explained, GalleryCard, Page
from protoquant.explain.sources import Sources
from protoquant.model.presence import look
from protoquant.pages.formatters import percent

_CLASSES_ON_A_CARD = 3
_MISTAKES = 12


def compose(config: VisualizeConfig, sources: Sources, epsilon: float, on_event: OnEvent) -> Page:
    """Compose the page.

    Args:
        config: How much the report shows.
        sources: Results of the other stages.
        epsilon: Contribution above which a prototype counts, as in evaluate.
        on_event: Receives progress for each explained image and each class of the gallery.

    Returns:
        The page.
    """
    bundle = sources.bundle
    album = Album(sources.table, bundle.backbone.preprocessing, sources.store.grid, config.image_size, config.quality)
    nearest = {
        int(row["code"]): Patch.of(row)
        for row in sources.bundle.provenance.sort_values("rank", ascending=False).to_dict("records")
    }
    witness = Witness(album, sources.names, nearest, score_maps(sources), config.parts)
    right, wrong = _explained(config, sources, witness, on_event)
    shown = gallery(
        sources.head,
        bundle.provenance,
        speaking(sources.contributions, sources.predictions, epsilon),
        per_class=config.prototypes_per_class,
        at_most=config.max_prototypes,
        patches=config.patches,
    )
    parts = {} if sources.purity is None else {code: words.part(row) for code, row in sources.purity.iterrows()}
    groups = tuple(_groups(shown, witness, parts, on_event))
    return Page(
        title=config.title,
        summary=words.summary(sources),
        facts=words.facts(sources),
        headlines=words.headlines(sources),
        path=_path(sources),
        path_note=words.path_note(sources),
        right=right,
        wrong=wrong,
        selection=words.selection(len(right), len(wrong)),
        groups=groups,
        gallery_note=words.gallery_note(shown, len(bundle.classes) - len(groups), mixed=bundle.codes_are == "mixture"),
        beside=words.beside(sources),
        kind_note=words.kind_note(sources),
        confusion=_confusion(sources),
        classes=_classes(sources.per_class, sources.names),
        reliability=_reliability(sources.reliability),
        reliability_note=words.reliability_note(sources),
        stability=_stability(sources.stability),
        stability_note=words.stability_note(sources),
        grounding=histogram(sources.prototypes["nearest"].tolist(), "prototypes", 380.0, 220.0),
        grounding_note=words.grounding_note(sources),
        purity=_purity(sources.purity),
        purity_note=words.purity_note(sources),
        numbers=words.number_groups(sources),
        lineage=words.lineage(sources),
        pictures=album.pictures,
        images=len(sources.predictions),
    )


def score_maps(sources: Sources) -> ScoreMap:
    """Score maps of test images, from the stored tokens; one image is held at a time."""
    positions = {image_id: position for position, image_id in enumerate(sources.store.image_ids)}
    held: dict[str, Float[np.ndarray, "h w k"]] = {}

    def score_map(image_id: str, code: int) -> Float[np.ndarray, "h w"]:
        if image_id not in held:
            held.clear()
            with torch.inference_mode():
                tokens = sources.store.tokens([positions[image_id]])
                shares = look(tokens, sources.bundle.codebook, sources.bundle.temperature).shares
            held[image_id] = shares[0].reshape(*sources.store.grid, -1).numpy()
        return held[image_id][:, :, code]

    return score_map


def _explained(
    config: VisualizeConfig, sources: Sources, witness: Witness, on_event: OnEvent
) -> tuple[tuple[Explained, ...], tuple[Explained, ...]]:
    chosen = choose(sources.predictions, config.right, config.wrong)
    rows = dict(iter(sources.contributions.groupby("image_id")))
    none = sources.contributions.head(0)
    explained = []
    positions = chosen.right + chosen.wrong
    for position in track(positions, "explain", len(positions), "images", on_event):
        prediction = sources.predictions.iloc[position].to_dict()
        own = rows.get(prediction["image_id"], none)
        explained.append(explain_image(prediction, own, f"image-{position}", witness))
    return tuple(explained[: len(chosen.right)]), tuple(explained[len(chosen.right) :])


def _groups(shown: Gallery, witness: Witness, parts: Mapping[Any, str], on_event: OnEvent) -> Iterator[ClassGroup]:
    heaviest = max((one.classes[0][1] for _, group in shown.groups for one in group), default=1.0)
    for label, prototypes in track(shown.groups, "gallery", len(shown.groups), "classes", on_event):
        cards = tuple(_card(prototype, witness, heaviest, parts) for prototype in prototypes)
        yield ClassGroup(witness.classes[label], cards)


def _card(prototype: GalleryPrototype, witness: Witness, heaviest: float, parts: Mapping[Any, str]) -> GalleryCard:
    classes = witness.classes
    return GalleryCard(
        code=prototype.code,
        used=prototype.used,
        carried=prototype.carried,
        classes=tuple(
            (classes[label], weight, weight / heaviest) for label, weight in prototype.classes[:_CLASSES_ON_A_CARD]
        ),
        more=max(0, len(prototype.classes) - _CLASSES_ON_A_CARD),
        patches=tuple((patch, place(patch, witness.album, classes)) for patch in prototype.patches),
        examples=tuple((seen, place_seen(prototype.code, seen, witness)) for seen in prototype.examples),
        pure=sum(patch.label == prototype.home for patch in prototype.patches),
        part=parts.get(prototype.code, ""),
    )


def _path(sources: Sources) -> Curve:
    """The path with the model on it: one of its heads, or a separate point if that head was refined afterwards."""
    metrics = sources.bundle.metrics
    size, accuracy = float(metrics["class_size"]), float(metrics["validation"]["top1"])
    refined = "joint" in metrics or "prune" in metrics
    rows = sources.path.to_dict("records")
    candidates = [
        _candidate(
            f"{row['temperature']:g}",
            row["class_size"],
            row["validation_top1"],
            chosen=bool(row["selected"]) and not refined,
        )
        for row in rows
    ]
    if refined:
        candidates.append(_candidate(f"{sources.bundle.temperature:g}", size, accuracy, chosen=True, series="model"))
    return path_curve(candidates, float(metrics["probe"]["validation"]["top1"]), 700.0, 300.0)


def _candidate(temperature: str, size: float, accuracy: float, *, chosen: bool, series: str | None = None) -> PathPoint:
    text = f"{size:.1f} prototypes per class, temperature {temperature}: {100 * accuracy:.1f} % on validation"
    return PathPoint(series or temperature, float(size), float(accuracy), text, chosen)


def _reliability(table: pd.DataFrame) -> Curve:
    x, y = (axis(0.0, 1.0, *span, 5, percent=True) for span in ((0.0, 380.0), (340.0, 0.0)))
    most = table["count"].max()
    points = tuple(
        CurvePoint(
            x.at(row["confidence"]),
            y.at(row["accuracy"]),
            f"{row['count']} images: confidence {percent(row['confidence'])}, accuracy {percent(row['accuracy'])}",
            radius=round(2.5 + 9.0 * math.sqrt(row["count"] / most), 2),
        )
        for row in table.to_dict("records")
    )
    return Curve(x, y, points, (join(points, main=True),), None)


def _stability(table: pd.DataFrame | None) -> Dots | None:
    if table is None:
        return None
    measures = words.STABILITY_MEASURES
    rows = {words.PERTURBATIONS.get(row["perturbation"], row["perturbation"]): row for row in table.to_dict("records")}
    return dots(
        {name: [float(row[measure]) for measure in measures] for name, row in rows.items()},
        tuple(measures.values()),
        380.0,
    )


def _purity(table: pd.DataFrame | None) -> Histogram | None:
    known = [] if table is None else table["purity"].dropna().tolist()
    return histogram(known, "prototypes", 380.0, 220.0) if known else None


def _confusion(sources: Sources) -> Confusion:
    names, matrix = sources.names, sources.confusion
    support = matrix.sum(axis=1)
    mistakes = tuple(
        (names[square.row], names[square.col], square.count, int(support[square.row]))
        for square in most_confused(matrix, _MISTAKES)
    )
    return Confusion(names, squares(matrix), mistakes)


def _classes(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[ClassMetricsRow, ...]:
    def share(value: float) -> float | None:
        return None if pd.isna(value) else float(value)

    return tuple(
        ClassMetricsRow(
            names[int(row["label"])],
            int(row["support"]),
            share(row["recall"]),
            share(row["precision"]),
            int(row["prototypes"]),
        )
        for row in table.to_dict("records")
    )
