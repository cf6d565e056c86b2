"""The verbs that use a trained model: predict, explain, verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from protoquant.cli.heavy_imports import importing
from protoquant.core.errors import DataError

if TYPE_CHECKING:
    from protoquant.model.explanation import Explanation

Source = Annotated[
    str, typer.Option("-m", "--model", help="A bundle folder, or an MLflow URI such as models:/NAME@challenger.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Weights = Annotated[
    Path | None, typer.Option(help="The backbone's weight file, where it is not where the bundle says.")
]
DEFAULT = "artifacts/bundle"


def predict(
    images: Annotated[list[str], typer.Argument(help="Image files; or a folder, or s3://bucket/prefix, with --out.")],
    *,
    model: Source = DEFAULT,
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option(help="Write the answers to this file: .parquet, .csv or .jsonl.")] = None,
    top: Annotated[int, typer.Option(min=0, help="Contributions in an answer, at most.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Classify images, or a whole folder. One that cannot be read is named, the others are classified all the same."""
    from protoquant.cli.model.predict_folder import names_a_folder, write_answers
    from protoquant.core.errors import UsageError

    folders = [image for image in images if names_a_folder(image)]
    if folders and (out is None or len(images) > 1):
        what = "give one folder at a time" if out else "say where the answers go: --out FILE.parquet"
        raise UsageError(f"{folders[0]} is a folder; {what}")
    if out is not None:
        write_answers(images, model=model, weights=weights, out=out, top=top, as_json=as_json)
        return
    with importing():
        import protoquant.model.classifier
    loaded = protoquant.load(model, weights=weights, tables=False)
    said = top if as_json else 0  # the table shows no contributions
    rows: list[dict[str, Any]] = []
    for image in images:
        try:
            rows.append({"image": image, **loaded.answer([image], said)[0].to_dict()})
        except DataError as error:
            rows.append({"image": image, "error": str(error)})
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_predictions([row for row in rows if "error" not in row])
    bad = [row["error"] for row in rows if "error" in row]
    if bad:
        raise DataError("\n".join(bad))


def explain(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    *,
    model: Source = DEFAULT,
    weights: Weights = None,
    of_class: Annotated[
        str | None, typer.Option("--class", help="Account for this class, not the predicted one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The picture to write; IMAGE.explained.png here if absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say why: the regions that count, the training patches they look like, and what each adds to the score."""
    from protoquant.core.errors import UsageError, suggest

    picture = out or Path(f"{image.stem}.explained.png")
    if not picture.resolve().parent.is_dir():
        raise UsageError(f"--out: there is no folder {picture.resolve().parent}; make it first")
    if picture.suffix.lower() != ".png" or picture.is_dir():
        raise UsageError(f"--out must be a file that ends in .png, got {picture}")
    if image.is_dir():
        raise UsageError(f"{image} is a folder; give the path of an image file")
    if not image.is_file():
        raise DataError(f"{image} is missing; give the path of an image file")
    with importing():
        import protoquant.model.classifier
        from protoquant.data.images import open_image
        from protoquant.explain.draw import explanation_figure
    loaded = protoquant.load(model, weights=weights)
    if of_class is not None and of_class not in loaded.classes:
        raise UsageError(f"--class: the model knows no {of_class!r}{suggest(of_class, loaded.classes)}")
    explanation = loaded.explain(image, None if of_class is None else loaded.classes.index(of_class))
    explanation_figure(explanation, open_image(image)).save(picture)
    if as_json:
        typer.echo(json.dumps({**explanation.to_dict(), "picture": str(picture)}, indent=2))
    else:
        _print_explanation(explanation)
        Console().print(f"picture: {picture}", highlight=False, markup=False, soft_wrap=True)


def verify(path: Annotated[Path, typer.Argument(help="A bundle folder, or one that export wrote.")]) -> None:
    """Hold every file of a bundle or an export against its digest."""
    from protoquant.core.artifacts import MANIFEST, artifact_digest, read_json

    with importing():
        from protoquant.export.card import KIND, open_card
        from protoquant.model.bundle import Bundle
    manifest = read_json(path / MANIFEST) if (path / MANIFEST).is_file() else None
    if isinstance(manifest, dict) and manifest.get("kind") == KIND:
        card = open_card(path)
        classes, prototypes = card.classes, len(card.prototypes)
    else:
        bundle = Bundle.open(path)
        classes, prototypes = bundle.classes, len(bundle.prototypes)
    count = f"{len(classes)} classes, {prototypes} prototypes"
    Console().print(
        f"{path} is whole: {count}, digest {artifact_digest(path)}", highlight=False, markup=False, soft_wrap=True
    )


def _print_predictions(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    image, name = (Column(title, overflow="fold") for title in ("image", "class"))
    table = Table(image, name, "probability", "logit", "note")
    for row in rows:
        numbers = [f"{row['probability']:.4f}", f"{row['logit']:.4f}"]
        table.add_row(row["image"], row["class_name"], *numbers, "no known part seen" if row["abstains"] else "")
    Console().print(table, highlight=False, markup=False)


def _print_explanation(explanation: Explanation) -> None:
    table = Table(
        "prototype",
        "score",
        "weight",
        "contribution",
        "cell",
        "looks like",
        title=Text(f"{explanation.class_name}, probability {explanation.probability:.4f}"),
        caption=f"the contributions sum to the logit, {explanation.logit:.6f}",
    )
    for part in explanation.contributions:
        patch = part.patches[0] if part.patches else None
        looks_like = f"{patch.class_name}: {patch.image_id}" if patch else ""
        numbers = [f"{value:.4f}" for value in (part.score, part.weight, part.contribution)]
        table.add_row(str(part.code), *numbers, f"{part.cell[0]}, {part.cell[1]}", looks_like)
    Console().print(table, highlight=False, markup=False)
