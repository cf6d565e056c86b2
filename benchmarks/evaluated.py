"""Trains and evaluates a model by the product's own steps, and reads what they wrote."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.datasets import DataSet, tell
from benchmarks.training import CPU, Sections, codebook_of
from protoquant.core.artifacts import read_json, read_table
from protoquant.evaluation.config import EvaluateConfig
from protoquant.evaluation.evaluate import evaluate
from protoquant.evaluation.tables import PREDICTIONS
from protoquant.features.store.store import FeatureStore
from protoquant.head.train import train


@dataclass(frozen=True)
class Evaluated:
    """A model's numbers.

    Attributes:
        row: What every table holds: name of the test images, size, prototypes, accuracies, and one character for each
            test image, 1 where the answer is right.
        numbers: All numbers of evaluate.
        own: Those of the bundle.
        codes_cpu: CPU seconds of quantize.
        cpu: CPU seconds of train.
        seconds: Seconds of train by the clock.
    """

    row: dict[str, Any]
    numbers: Mapping[str, Any]
    own: Mapping[str, Any]
    codes_cpu: float
    cpu: float
    seconds: float

    def value(self, *path: str) -> float | None:
        """A number of evaluate by its path; None where it was not measured."""
        found: Any = self.numbers
        for name in path:
            if not isinstance(found, Mapping) or name not in found:
                return None
            found = found[name]
        if isinstance(found, Mapping):
            found = found["value"]
        return None if found is None else float(found)


def evaluated(data: DataSet, sections: Sections, config: EvaluateConfig, place: Path, work: Path) -> Evaluated:
    """Train a model into a folder and measure it there.

    Args:
        data: Images and features.
        sections: Sections quantize and train.
        config: Section evaluate.
        place: Folder of the bundle and its evaluation.
        work: Where codebooks are kept.
    """
    (coding, training), space, out = sections, data.workspace, place / "evaluation"
    codebook, spent = codebook_of(data, coding, work)
    began, cpu = time.monotonic(), time.process_time()
    train(
        training, images=space.images, root=data.root, features=space.features, codebook=codebook,
        out=place / "bundle", device=CPU, seed=data.seed, on_event=tell,
    )  # fmt: skip
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    evaluate(
        config, images=space.images, root=data.root, parts=space.parts, features=space.features, codebook=codebook,
        bundle=place / "bundle", out=out, metrics=place / "metrics.json", device=CPU, seed=data.seed, on_event=tell,
    )  # fmt: skip
    numbers, own = read_json(out / "metrics.json"), read_json(place / "bundle" / "metrics.json")
    predictions = read_table(out / PREDICTIONS)
    right = (predictions["label"] == predictions["predicted"]).astype(int)
    row = {
        "images": FeatureStore.open(space.features / "test").digest,
        "size": own["class_size"],
        "validation": own["validation"]["top1"],
        "probe": numbers["test"]["probe"]["top1"]["value"],
        "prototypes": own["prototypes"],
        "right": "".join(map(str, right)),
    }
    return Evaluated(row, numbers, own, spent, cpu, seconds)
