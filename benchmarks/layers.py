"""Measure what several layers of the backbone give beside the last: accuracy, places, steadiness, bytes and seconds.

Variants: before (the defaults that were: the last layer, a head chosen on validation), last (the last layer, and the
present rule), and the default's two layers with the weights 1, 2 and 4; with --more, weight 2 also on the whole image
squashed to the input, and on an input of 320 pixels. Each is trained at fixed numbers of prototypes per class, and once
with the number that its rule takes (column asked: rule). Nothing is chosen on the test split, which is measured once
for each model. Places need part points: partbirds has them, photos where --photo-parts gives them.

A stopped run resumes: a model that is there is not trained or measured again. It does not see that code has changed
since: remove WORK/layers after such a change.

Run: python -m benchmarks.layers [--data partbirds photos --photos FOLDER --photo-parts points.csv] [--sizes 0 5 10]
     python -m benchmarks.layers --quick       # a few small images: shows that all runs
Prints the table and writes layers.csv to docs; with --quick to the work folder.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.datasets import EXTRACT, DataSet, Places, add_arguments, demo, photos, quick
from benchmarks.evaluated import evaluated
from benchmarks.former import free_quantize, free_train
from benchmarks.intervals import interval, of_images
from benchmarks.recipes import BEFORE, shorter
from benchmarks.training import Sections, write_aside
from protoquant.codebook.config import QuantizeConfig
from protoquant.evaluation.config import EvaluateConfig
from protoquant.features.config import LAST, ExtractConfig
from protoquant.head.config import BudgetConfig, TrainConfig

RULE = 0
"""Stands for the number of prototypes per class that the rule takes."""
GROUPS = ("sizes", "purity", "evidence", "stability")


@dataclass(frozen=True)
class Variant:
    """What a variant changes in the defaults.

    Attributes:
        extract: In section extract.
        quantize: In section quantize.
        train: In section train.
    """

    extract: Mapping[str, Any] = field(default_factory=dict)
    quantize: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)

    def features(self) -> ExtractConfig:
        """Section extract."""
        return EXTRACT.model_copy(update=dict(self.extract))

    def sections(self, size: int) -> tuple[QuantizeConfig, TrainConfig]:
        """Sections quantize and train for a number of prototypes per class."""
        coding, training = free_quantize(**self.quantize), free_train()
        budget = BudgetConfig() if size == RULE else BudgetConfig(sizes=(size,))
        return coding, training.model_copy(update={**self.train, "budget": budget})


VARIANTS: Mapping[str, Variant] = {
    "before": Variant(quantize=BEFORE["quantize"], train=BEFORE["train"]),
    "last": Variant(quantize={"layers": (LAST,)}),
    "w 1": Variant(quantize={"layer_weights": 1.0}),
    "w 2": Variant(quantize={"layer_weights": 2.0}),
    "w 4": Variant(quantize={"layer_weights": 4.0}),
}
MORE: Mapping[str, Variant] = {
    "w 2, squashed": Variant(extract={"view": "squash"}, quantize={"layer_weights": 2.0}),
    "w 2, 320 pixels": Variant(extract={"input_size": (320, 320)}, quantize={"layer_weights": 2.0}),
}


def measured(data: DataSet, name: str, variant: Variant, size: int, work: Path, *, quick: bool) -> dict[str, Any]:
    """Train and measure a model unless that is done; return its row, with one character for each test image."""
    place = work / "layers" / f"{data.key}-{data.seed}-{name.replace(' ', '')}-{size}"
    kept = place.with_name(f"{place.name}.json")
    if not kept.is_file():
        sections = variant.sections(size)
        row = _row(data, shorter(*sections) if quick else sections, place, work)
        write_aside(kept, json.dumps({"data": data.name, "seed": data.seed, "variant": name, "asked": size, **row}))
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _row(data: DataSet, sections: Sections, place: Path, work: Path) -> dict[str, Any]:
    model = evaluated(data, sections, EvaluateConfig(metrics=GROUPS, stability_images=64), place, work)
    return {
        **model.row,
        "cross_fitted": model.own.get("choice", {}).get("top1"),
        "purity": model.value("purity", "fixed", "mean"),
        "holding": model.value("purity", "fixed", "holding"),
        "off": model.value("evidence", "fixed", "prototypes_off"),
        "stays": model.value("stability", "top_prototype"),
        "quantize_cpu": model.codes_cpu,
        "train_cpu": model.cpu,
        "mib": sum(file.stat().st_size for file in data.workspace.features.glob("train/**/*.safetensors")) / 2**20,
    }


TITLES = ("asked", "layers", "test", "per class", "validation", "cross-fitted", "probe", "prototypes", "purity")
TITLES += ("with a part", "off", "stays", "quantize, train CPU s")
COLUMNS = ("size", "validation", "cross_fitted", "probe", "prototypes", "purity", "holding", "off", "stays")


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each data set, variant and number asked for: means over seeds, test pooled over their images."""
    lines = []
    for (data, asked, variant), own in rows.groupby(["data", "asked", "variant"], sort=False):
        bits = [np.frombuffer(text.encode(), dtype=np.uint8) - ord("0") for text in own["right"]]
        right = of_images(bits, list(own["images"]))
        low, high = interval(right)
        means = own[[*COLUMNS, "quantize_cpu", "train_cpu", "mib"]].astype(float).mean()
        line = {"data": data, "asked": asked, "variant": variant, "seeds": len(own), "n": len(right)}
        lines.append(line | {"test": right.mean(), "low": low, "high": high} | means.to_dict())
    return pd.DataFrame(lines)


def table(lines: pd.DataFrame) -> str:
    """The lines as Markdown, one table for each data set."""
    text = []
    for data, own in lines.groupby("data", sort=False):
        text += [f"### {data}, {own['seeds'].max()} seeds, {own['n'].max():,} test images", ""]
        text += ["| " + " | ".join(TITLES) + " |", "|" + "---|" * len(TITLES)]
        for line in own.to_dict("records"):
            asked = "rule" if line["asked"] == RULE else str(line["asked"])
            shares = [_percent(line[name]) for name in ("validation", "cross_fitted", "probe")]
            places = [_number(line[name]) for name in ("purity", "holding", "off", "stays")]
            test = f"{100 * line['test']:.1f} ({100 * line['low']:.1f} to {100 * line['high']:.1f})"
            cells = [asked, line["variant"], test, f"{line['size']:.1f}", *shares, f"{line['prototypes']:.0f}", *places]
            text.append("| " + " | ".join([*cells, f"{line['quantize_cpu']:.0f}, {line['train_cpu']:.0f}"]) + " |")
        text.append("")
    return "\n".join(text)


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f}"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


MAKERS = {"partbirds": demo, "photos": photos}


def run(given: argparse.Namespace, variants: Sequence[str]) -> pd.DataFrame:
    """Measure every variant on every data set and seed."""
    every, places = {**VARIANTS, **MORE}, Places.of(given)
    makers = [quick] if given.quick else [MAKERS[name] for name in given.data]
    rows = []
    for make in makers:
        for seed in given.seeds[:1] if given.quick else given.seeds:
            for name in variants:
                data = make(seed, replace(places, extract=every[name].features()))
                for size in given.sizes:
                    began = time.perf_counter()
                    rows.append(measured(data, name, every[name], size, given.work, quick=given.quick))
                    print(f"{data.name}, seed {seed}, {name}, {size}: {time.perf_counter() - began:.0f} s", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[RULE, 5, 10], help="0: the number that the rule takes")
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS, *MORE], default=list(VARIANTS))
    parser.add_argument("--data", nargs="+", choices=list(MAKERS), default=["partbirds"])
    parser.add_argument("--more", action="store_true", help="other views and sizes of the input too")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the table")
    parser.add_argument("--quick", action="store_true", help="see that all runs: one small data set")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.quick:
        given.sizes = [RULE, 2]
    lines = summary(run(given, [*given.variants, *(MORE if given.more else ())]))
    out = given.work if given.quick else given.out
    lines.to_csv(out / "layers.csv", index=False, float_format="%.4f", lineterminator="\n")
    print(table(lines))


if __name__ == "__main__":
    main()
