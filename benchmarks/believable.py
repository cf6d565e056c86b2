"""Measure what makes prototypes believable: where they look, what they show, what they are made of, what stays.

Variants: before (free codes, ten a class, the former default), then one property after the other: narrow (forty codes
a class, the twelve that agree most stay), mixtures (those as mixtures of 16 patches), and default (also steadiness);
then few (mixtures of 4), medoids (of 1), whole (the default on the whole photo, squashed to the input) and object (the
default with codes seeded on the object, where the data has masks). Each is trained at five prototypes per class and
once with the number that its rule takes (column asked: rule). Nothing is chosen on the test split, which is measured
once for each model; stability is measured on all test images, corruptions on 64 of them. Places need parts: partbirds
and funnybirds have them, photos where --photo-parts gives them.

A stopped run resumes: a model that is there is not trained or measured again. It does not see that code has changed
since: remove WORK/believable after such a change.

Run: python -m benchmarks.believable [--data partbirds photos funnybirds --photos FOLDER --photo-parts points.csv
     --funnybirds FOLDER] [--sizes 0 5] [--variants NAME ...]
     python -m benchmarks.believable --quick       # a few small images: shows that all runs
Prints the table, and writes believable.csv and believable.png to docs; with --quick to the work folder.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.believable_chart import draw
from benchmarks.datasets import EXTRACT, DataSet, Places, add_arguments, demo, funnybirds, photos, quick
from benchmarks.evaluated import evaluated
from benchmarks.former import free_quantize, free_train
from benchmarks.funnybirds_pairs import pairs
from benchmarks.intervals import interval, of_images
from benchmarks.recipes import shorter
from benchmarks.training import Sections, write_aside
from protoquant.codebook.config import QuantizeConfig
from protoquant.data.table import ImageTable
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.groups.funnybirds import TABLE
from protoquant.features.config import AugmentConfig, ExtractConfig
from protoquant.head.config import BudgetConfig, MixtureConfig, TrainConfig

RULE = 0
"""Stands for the number of prototypes per class that the rule takes."""
GROUPS = ("sizes", "purity", "evidence", "stability", "corruptions", "funnybirds")
VIEWED: Mapping[str, Any] = {
    "views": 1,
    "augment": AugmentConfig(area=(0.7, 1.0), ratio=(0.9, 1.1), flip=0.0),
}
"""Views as in params.yaml."""


@dataclass(frozen=True)
class Variant:
    """Sections of a variant.

    Attributes:
        quantize: Section quantize.
        train: Section train, but for the sizes.
        extract: What it changes in section extract of the other benchmarks.
    """

    quantize: QuantizeConfig
    train: TrainConfig
    extract: Mapping[str, Any] = field(default_factory=dict)

    def features(self) -> ExtractConfig:
        """Section extract."""
        return EXTRACT.model_copy(update=dict(self.extract))

    def sections(self, size: int) -> Sections:
        """Sections quantize and train for a number of prototypes per class."""
        budget = BudgetConfig() if size == RULE else BudgetConfig(sizes=(size,))
        return self.quantize, self.train.model_copy(update={"budget": budget})


def _mixed(patches: int = 16, **joint: float) -> TrainConfig:
    training = TrainConfig(mixture=MixtureConfig(patches=patches))
    if training.joint is None:
        raise TypeError("the default trains codes and head together")
    return training.model_copy(update={"joint": training.joint.model_copy(update=joint)})


VARIANTS: Mapping[str, Variant] = {
    "before": Variant(free_quantize(), free_train()),
    "narrow": Variant(QuantizeConfig(), free_train()),
    "mixtures": Variant(QuantizeConfig(), _mixed(steadiness=0.0)),
    "default": Variant(QuantizeConfig(), TrainConfig(), VIEWED),
    "few": Variant(QuantizeConfig(), _mixed(4), VIEWED),
    "medoids": Variant(QuantizeConfig(), _mixed(1), VIEWED),
    "whole": Variant(QuantizeConfig(), TrainConfig(), {**VIEWED, "view": "squash"}),
    "object": Variant(QuantizeConfig(seeding_on_object=True), TrainConfig(), VIEWED),
}
PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "purity": ("purity", "fixed", "mean"),
    "train_purity": ("train", "purity", "fixed", "mean"),
    "holding": ("purity", "fixed", "holding"),
    "off": ("evidence", "fixed", "patches_off"),
    "evidence_off": ("evidence", "fixed", "off"),
    "nearest": ("grounding", "nearest_mean"),
    "stays": ("stability", "top_prototype"),
    "three_stay": ("stability", "top3"),
    "answer_stays": ("stability", "prediction"),
    "corrupted_stays": ("corruptions", "top_prototype"),
    "complete": ("funnybirds", "map", "completeness"),
    "correct": ("funnybirds", "map", "single_deletion"),
    "contrast": ("funnybirds", "map", "target_sensitivity"),
    "explained": ("funnybirds", "map", "mean"),
}
"""Numbers of evaluate, by their column."""


def measured(data: DataSet, name: str, size: int, work: Path, *, quick: bool) -> dict[str, Any]:
    """Train and measure a model unless that is done; return its row, with one character for each test image."""
    place = _place(data.key, data.seed, name, size, work)
    kept = place.with_name(f"{place.name}.json")
    if not kept.is_file():
        sections = _foldable(VARIANTS[name].sections(size), data)
        row = _row(data, shorter(*sections) if quick else sections, place, work, quick=quick)
        names = {"data": data.name, "seed": data.seed, "variant": name, "asked": size}
        write_aside(kept, json.dumps(names | row))
    return {**json.loads(kept.read_text(encoding="utf-8")), "key": data.key}


def _foldable(sections: Sections, data: DataSet) -> Sections:
    """The sections, with fewer folds where the smallest class has fewer images in train and validation."""
    quantize, train = sections
    table = ImageTable.open(data.workspace.images, data.root)
    frames = [table.split(split).frame["label"] for split in ("train", "validation")]
    fewest = int(pd.concat(frames).value_counts().min())
    if train.choice is None or fewest >= train.choice.folds:
        return sections
    return quantize, train.model_copy(update={"choice": train.choice.model_copy(update={"folds": fewest})})


def _place(key: str, seed: int, name: str, size: int, work: Path) -> Path:
    return work / "believable" / f"{key}-{seed}-{name}-{size}"


def _row(data: DataSet, sections: Sections, place: Path, work: Path, *, quick: bool) -> dict[str, Any]:
    measuring = EvaluateConfig(
        metrics=GROUPS, stability_images=8 if quick else None, corruption_images=2 if quick else 64
    )
    model = evaluated(data, sections, measuring, place, work)
    return {
        **model.row,
        **{name: model.value(*path) for name, path in PROPERTIES.items()},
        "train_s": model.seconds,
        "train_cpu": model.cpu,
        "quantize_cpu": model.codes_cpu,
    }


COLUMNS = ("size", "validation", "probe", "prototypes", *PROPERTIES, "train_s", "train_cpu", "quantize_cpu")


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each data set, variant and number asked for.

    Means over seeds with the least and the most, and test accuracy pooled over the images of all seeds.
    """
    lines = []
    for (data, asked, variant), own in rows.groupby(["data", "asked", "variant"], sort=False):
        bits = [np.frombuffer(text.encode(), dtype=np.uint8) - ord("0") for text in own["right"]]
        right = of_images(bits, list(own["images"]))
        low, high = interval(right)
        numbers = own[list(COLUMNS)].astype(float)
        line = {"data": data, "asked": asked, "variant": variant, "seeds": len(own), "n": len(right)}
        line |= {"test": right.mean(), "low": low, "high": high} | numbers.mean().to_dict()
        for name in PROPERTIES:
            line |= {f"{name}_least": numbers[name].min(), f"{name}_most": numbers[name].max()}
        lines.append(line)
    return pd.DataFrame(lines)


TITLES: Mapping[str, str] = {
    "purity": "purity",
    "train_purity": "purity, train",
    "holding": "boxes with a part",
    "off": "patches off",
    "evidence_off": "evidence off",
    "nearest": "cosine to the nearest patch",
    "stays": "first stays",
    "three_stay": "three stay",
    "answer_stays": "answer stays",
    "corrupted_stays": "first stays, corrupted",
    "complete": "completeness",
    "correct": "correctness",
    "contrast": "contrastivity",
    "explained": "FunnyBirds' mean",
}


def table(lines: pd.DataFrame) -> str:
    """The lines as Markdown, one table for each data set."""
    text = []
    for data, own in lines.groupby("data", sort=False):
        text += [f"### {data}, {own['seeds'].max()} seeds, {own['n'].max():,} test images", ""]
        titles = ["asked", "variant", "test", "validation", "probe", "prototypes", *TITLES.values(), "train s"]
        text += ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
        for line in own.to_dict("records"):
            test = f"{100 * line['test']:.1f} ({100 * line['low']:.1f} to {100 * line['high']:.1f})"
            shares = [f"{100 * line[name]:.1f}" for name in ("validation", "probe")]
            places = ["" if np.isnan(line[name]) else f"{line[name]:.2f}" for name in TITLES]
            cells = [_asked(line["asked"]), line["variant"], test, *shares, f"{line['prototypes']:.0f}", *places]
            text.append("| " + " | ".join([*cells, f"{line['train_s']:.0f}"]) + " |")
        text.append("")
    return "\n".join(text)


def funnybirds_table(rows: pd.DataFrame, work: Path) -> str:
    """Markdown: FunnyBirds' scores of every variant less those of before, image by image."""
    lines = ["| asked | variant | score | before | after | difference | n |", "|" + "---|" * 7]
    for (asked, name), own in rows[rows["explained"].notna()].groupby(["asked", "variant"], sort=False):
        former = rows[(rows["variant"] == "before") & (rows["asked"] == asked) & rows["explained"].notna()]
        tables = [
            [
                _place(row.key, row.seed, row.variant, row.asked, work) / "evaluation" / TABLE
                for row in some.itertuples()
            ]
            for some in (own, former)
        ]
        if name == "before" or not all(tables):
            continue
        for score, before, after, difference, low, high, n in pairs(*tables).itertuples(index=False):
            change = f"{difference:+.3f} ({low:+.3f} to {high:+.3f})"
            lines.append(f"| {_asked(asked)} | {name} | {score} | {before:.3f} | {after:.3f} | {change} | {n} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _asked(size: int) -> str:
    return "rule" if size == RULE else str(size)


MAKERS = {"partbirds": demo, "photos": photos, "funnybirds": funnybirds}


def run(given: argparse.Namespace) -> pd.DataFrame:
    """Measure every variant on every data set and seed."""
    places = Places.of(given)
    makers = [quick] if given.quick else [MAKERS[name] for name in given.data]
    rows = []
    for make in makers:
        for seed in given.seeds[:1] if given.quick else given.seeds:
            for name in given.variants:
                if name == "object" and make is photos:
                    continue  # points are no masks
                data = make(seed, replace(places, extract=VARIANTS[name].features()))
                for size in given.sizes:
                    began = time.perf_counter()
                    rows.append(measured(data, name, size, given.work, quick=given.quick))
                    print(f"{data.name}, seed {seed}, {name}, {size}: {time.perf_counter() - began:.0f} s", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table, write it, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[RULE, 5], help="0: the number that the rule takes")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--data", nargs="+", choices=list(MAKERS), default=["partbirds"])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of table and figure")
    parser.add_argument("--quick", action="store_true", help="see that all runs: one small data set")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.quick:
        given.sizes = [2]
    rows = run(given)
    lines = summary(rows)
    out = given.work if given.quick else given.out
    lines.to_csv(out / "believable.csv", index=False, float_format="%.4f", lineterminator="\n")
    draw(lines, out / "believable.png")
    print(table(lines))
    print(funnybirds_table(rows, given.work))


if __name__ == "__main__":
    main()
