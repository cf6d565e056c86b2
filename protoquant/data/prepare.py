"""PREPARE: turns image files into one checked table of images and splits."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from protoquant.core.artifacts import digest_json, write_json, write_table, writing
from protoquant.core.errors import DataError, suggest
from protoquant.core.events import MessageEvent, OnEvent, track
from protoquant.data.checks import Checked, ImageEntry, check_images, set_apart
from protoquant.data.complete import few
from protoquant.data.config import PrepareConfig
from protoquant.data.exclusions import Exclusions
from protoquant.data.names import spelt_alike
from protoquant.data.parts.listing import PartListing
from protoquant.data.parts.table import KIND as PARTS
from protoquant.data.parts.writer import write_parts
from protoquant.data.quarantine import Rejected, count_reasons, in_words
from protoquant.data.readers.listing import Listing
from protoquant.data.readers.registry import reader
from protoquant.data.splits import SPLITS, SplitName, cut
from protoquant.data.table import CLASSES, DTYPES, EXCLUDED, KIND, SUMMARY, TABLE, of_excluded
from protoquant.data.words import named_classes, of_classes, of_counts, of_no_images, of_parts, of_tests

TITLES = "titles.json"


@dataclass(frozen=True)
class PrepareResult:
    """The result of ``prepare``.

    Attributes:
        out: The artifact.
        classes: Number of classes.
        images: Number of images by split.
        quarantined: Number of images left out, by reason.
        excluded: Number of images left out by hand, by split.
    """

    out: Path
    classes: int
    images: Mapping[str, int]
    quarantined: Mapping[str, int]
    excluded: Mapping[str, int]


def prepare(
    config: PrepareConfig,
    *,
    root: Path,
    out: Path,
    parts: Path,
    seed: int,
    on_event: OnEvent,
    exclude: Path | None = None,
    workers: int = 1,
) -> PrepareResult:
    """List the images, open each once, leave out what cannot be used, and cut the splits that are missing.

    Args:
        config: The ``prepare`` section.
        root: ``prepare.root`` as a path.
        out: The artifact: ``classes.json``, ``titles.json`` if classes have readable names, ``quarantine.parquet``,
            ``summary.json`` and, for each split, an artifact of its own with ``images.parquet`` and, if the reader
            draws them, the images.
        parts: The artifact of part annotations, which ``PartTable`` reads: written for any data, so that a later stage
            finds out there that data has none.
        seed: The seed of params.yaml.
        on_event: Receives progress and, at the end, a message with the counts.
        exclude: ``prepare.exclude`` as a path; its images take part in the draw of the splits, so that leaving one out
            moves no other.
        workers: Threads that decode images, or processes that render them; the result does not depend on them.

    Returns:
        The counts.

    Raises:
        DataError: The root is missing or wrong, there are fewer than two classes, a class has no training image, a
            split has no image, no image is left, annotations do not fit their images, or the table of exclusions is
            none.
    """
    exclusions = Exclusions.read(exclude)
    with writing(out, KIND, reader=config.reader) as folder, writing(parts, PARTS, reader=config.reader) as parted:
        drawn = folder / "drawn"
        listing = reader(config.reader)(root, into=drawn, config=config, workers=workers, on_event=on_event)
        listing = spelt_alike(listing, on_event)
        classes = listing.class_names()
        _check_listing(listing, classes, root)
        kept, excluded, rejected = _check(listing, exclusions, config.min_side, workers, on_event)
        split_of = assign_splits(kept + excluded, set(listing.frame["split"].dropna()), config, seed, on_event)
        splits = [split_of[image.entry.image_id] for image in kept]
        _check_kept(kept, splits, classes, rejected)
        result = PrepareResult(
            out,
            len(classes),
            _counts(splits),
            count_reasons(rejected),
            _counts(split_of[image.entry.image_id] for image in excluded),
        )
        frame = _frame(kept, splits, classes)
        _write(folder, result, frame, classes, rejected)
        if titles := {name: listing.titles[name] for name in classes if name in listing.titles}:
            write_json(folder / TITLES, titles)
        given = listing.parts or PartListing()
        write_parts(parted, given, frame, beside=folder, workers=workers, on_event=on_event)
        shutil.rmtree(drawn, ignore_errors=True)
    on_event(MessageEvent(of_classes(frame, classes)))
    for event in of_tests(listing, kept, rejected):
        on_event(event)
    if measured := of_excluded(result.excluded):
        on_event(MessageEvent(measured, level="warning"))
    on_event(MessageEvent(of_counts(result.images, result.classes, result.quarantined)))
    if given.schema.form is not None:
        on_event(MessageEvent(of_parts(given.schema, len(set(given.annotated) & set(frame["image_id"])))))
    return result


def _write(
    folder: Path, result: PrepareResult, frame: pd.DataFrame, classes: Sequence[str], rejected: Sequence[Rejected]
) -> None:
    """Write the tables, and move drawn images below their split."""
    drawn = folder / "drawn"
    for name in SPLITS:
        with writing(folder / name, KIND, drawn=drawn.is_dir(), classes=digest_json(list(classes))) as part:
            write_table(part / TABLE, frame[frame["split"] == name])
            for path in sorted((drawn / name).iterdir()) if (drawn / name).is_dir() else []:
                path.rename(part / path.name)
    write_table(folder / "quarantine.parquet", _quarantine(rejected))
    write_json(folder / CLASSES, list(classes))
    summary = {"classes": result.classes, "images": result.images, "quarantined": result.quarantined}
    write_json(folder / SUMMARY, summary | ({EXCLUDED: result.excluded} if any(result.excluded.values()) else {}))


def _check_listing(listing: Listing, classes: Sequence[str], root: Path) -> None:
    if listing.frame.empty:
        raise DataError(of_no_images(listing.rejected, root))
    if len(classes) < 2:
        inner = {Path(path).parts[1] for path in listing.frame["path"] if len(Path(path).parts) > 2}
        hint = f"; if {', '.join(sorted(inner)[:3])} are the classes, set prepare.root to the folder of these"
        found = f"at least two classes are needed, {root} holds {len(classes)}: {', '.join(classes)}"
        raise DataError(found + (hint if inner else "; add a second class"))


def _check(
    listing: Listing, exclusions: Exclusions, min_side: int, workers: int, on_event: OnEvent
) -> tuple[list[Checked], list[Checked], list[Rejected]]:
    """Open every image, and part those that stay, those that a person left out, and those that cannot be used."""
    rows = zip(listing.frame["path"], listing.frame["class_name"], listing.frame["split"], strict=True)
    entries = [ImageEntry(path, name, None if pd.isna(split) else split) for path, name, split in rows]
    checked = check_images(entries, listing.image_root, min_side, workers, keep_tests=listing.official)
    decoded: list[Checked] = []
    rejected = list(listing.rejected)
    for one in track(checked, "check", len(entries), "images", on_event):
        if isinstance(one, Rejected):
            rejected.append(one)
        else:
            decoded.append(one)
    wanted, excluded = exclusions.part(decoded)
    kept, alike = set_apart(wanted, keep_tests=listing.official)
    if odd := [f"{one.entry.image_id} ({one.misnamed})" for one in kept if one.misnamed]:
        text = f"{few(odd, 'image', 'images')} used as what the bytes are, not as what the name says"
        on_event(MessageEvent(text, level="warning"))
    rejected += [*alike, *exclusions.rejected(excluded)]
    if idle := exclusions.idle(rejected, set(listing.frame["path"])):
        on_event(MessageEvent(idle, level="warning"))
    return kept, excluded, rejected


def assign_splits(
    images: Sequence[Checked], given: set[str], config: PrepareConfig, seed: int, on_event: OnEvent
) -> dict[str, SplitName]:
    """Assign each image, by its id, its split: its own, or one cut from train, first test, then validation.

    A split that the data has stays as it is, even if none of its images can be used.

    Args:
        images: The images that can be used.
        given: The splits that the data has.
        config: The shares of the others.
        seed: The seed of params.yaml.
        on_event: Receives which splits the data has, and which classes have too few images to be cut.

    Returns:
        The split of each image by its id.
    """
    splits: dict[str, SplitName] = {image.entry.image_id: image.entry.split or "train" for image in images}
    shares: dict[SplitName, float] = {"test": config.test_share, "validation": config.validation_share}
    for name, share in shares.items():
        if name in given:
            on_event(MessageEvent(f"the data has its own {name} split; prepare.{name}_share is not used"))
            continue
        pool: dict[str, list[str]] = {}
        for image in images:
            if splits[image.entry.image_id] == "train":
                pool.setdefault(image.entry.class_name, []).append(image.entry.image_id)
        drawn = cut(pool, share, seed, name)
        splits.update(dict.fromkeys(drawn.chosen, name))
        if drawn.bare:
            text = f"no {name} image of {named_classes(drawn.bare)}: one image in train, which stays there; add images"
            on_event(MessageEvent(text, level="warning"))
    return splits


def _counts(splits: Iterable[SplitName]) -> dict[str, int]:
    counts = Counter(splits)
    return {name: counts[name] for name in SPLITS}


def _check_kept(
    images: Sequence[Checked], splits: Sequence[str], classes: Sequence[str], rejected: Sequence[Rejected]
) -> None:
    """Refuse data with which a later stage could not work."""
    left_out = f"left out: {in_words(count_reasons(rejected)) or 'none'}"
    first = f", such as {rejected[0].image_id}, which {rejected[0].detail}" if rejected else ""
    if not images:
        raise DataError(f"none of the images can be used ({left_out}{first}); repair the files")
    trained = {image.entry.class_name for image, split in zip(images, splits, strict=True) if split == "train"}
    without = [name for name in classes if name not in trained]
    if without:
        near = suggest(without[0], trained) if len(without) == 1 else ""
        raise DataError(
            f"no training image of {named_classes(without)}{near} ({left_out}{first}); add images or remove the class"
        )
    for name in SPLITS:
        if name not in splits:
            raise DataError(f"no image is left for the split {name} ({left_out}); add images")


def _frame(images: Sequence[Checked], splits: Sequence[str], classes: Sequence[str]) -> pd.DataFrame:
    labels = {name: label for label, name in enumerate(classes)}
    rows = [
        (
            one.entry.image_id,
            labels[one.entry.class_name],
            one.entry.class_name,
            split,
            one.digest,
            one.width,
            one.height,
        )
        for one, split in zip(images, splits, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES)
    return frame.sort_values(["split", "image_id"], ignore_index=True)


def _quarantine(rejected: Iterable[Rejected]) -> pd.DataFrame:
    rows = sorted((asdict(row) for row in rejected), key=lambda row: (row["image_id"], row["reason"]))
    return pd.DataFrame(rows, columns=["image_id", "reason", "detail"]).astype("str")
