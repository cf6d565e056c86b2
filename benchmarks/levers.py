"""What each lever is worth: the default with one value changed, on validation, over several seeds.

Every row is a run of quantize and train at ten prototypes per class. The difference to the default is paired by image;
its interval is a 95 % bootstrap interval over the validation images of all seeds. The test split is not opened.

Run: python -m benchmarks.levers [--photos FOLDER] [--seeds 0 1 2] [--only NAME ...] [--threads 2]
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.accuracy import interval
from benchmarks.datasets import DataSet, partbirds, photos
from benchmarks.recipes import codebook_of, train_bundle
from protoquant.codebook.config import QuantizeConfig
from protoquant.features.store import FeatureStore
from protoquant.head.config import TrainConfig
from protoquant.head.head import head_logits
from protoquant.head.presence import presence_scores

PER_CLASS = 10
LEVERS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "default": {},
    "no joint training": {"train": {"joint": None}},
    "no prototype dropout": {"joint": {"prototype_dropout": 0.0}},
    "prototype dropout 0.25": {"joint": {"prototype_dropout": 0.25}},
    "20 joint epochs": {"joint": {"epochs": 20}},
    "labels smoothed by 0.1": {"joint": {"smoothing": 0.1}},
    "temperature 0.03 alone": {"train": {"temperature": 0.03}},
    "temperature 0.1 alone": {"train": {"temperature": 0.1}},
    "5 codes a class": {"quantize": {"size": 5}},
    "15 codes a class": {"quantize": {"size": 15}},
    "k-means++ over all": {"quantize": {"size": 500, "size_unit": "codebook", "seeding": "kmeans++", "epochs": 20}},
    "all patches seed codes": {"quantize": {"seeding_share": 1.0}},
    "l2": {"quantize": {"feature_norm": "l2"}},
    "whitened": {"quantize": {"feature_norm": "whiten"}},
    "L1 path, no joint": {"train": {"solver": "proximal", "budget": None, "joint": None, "max_class_size": PER_CLASS}},
    "codes are mean of 8 patches": {"train": {"grounding": "mean", "grounding_patches": 8}},
    "codes are medoids": {"train": {"grounding": "medoid"}},
}


def sections(lever: Mapping[str, Mapping[str, Any]]) -> tuple[QuantizeConfig, TrainConfig]:
    """The default with the lever's values."""
    quantize, train = QuantizeConfig().model_dump(mode="json"), TrainConfig().model_dump(mode="json")
    train |= {"budget": {**train["budget"], "sizes": [PER_CLASS]}, "tolerance": 0.0}
    train["joint"] |= lever.get("joint", {})
    train |= lever.get("train", {})
    return QuantizeConfig.parse(quantize | lever.get("quantize", {})), TrainConfig.parse(train)


def judge(data: DataSet, name: str, work: Path) -> tuple[np.ndarray, float, float, float]:
    """Right answers on validation, their cross-entropy, prototypes per class, and CPU seconds."""
    quantizing, training = sections(LEVERS[name])
    codebook, learned = codebook_of(data, quantizing, work)
    bundle, spent = train_bundle(data, training, codebook, work)
    store = FeatureStore.open(data.workspace.features / "validation")
    with torch.inference_mode():
        logits = head_logits(presence_scores(store, bundle.codebook, bundle.temperature, 32), bundle.head)
    right = (logits.argmax(dim=1) == store.labels).numpy().astype(np.int64)
    size = float((bundle.head > 0).sum()) / len(bundle.classes)
    return right, float(cross_entropy(logits, store.labels)), size, learned + spent


def main() -> None:
    """Print the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="class-named folders, in place of partbirds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=LEVERS, default=list(LEVERS), help="default is always run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    folder = given.photos
    make = partbirds if folder is None else lambda seed, work: photos(folder.resolve(), seed, work)
    data = [make(seed, given.work) for seed in given.seeds]
    print(f"{data[0].name}, seeds {', '.join(map(str, given.seeds))}; validation")
    print(f"{'':<30} {'top-1':>7} {'loss':>6} {'per class':>9} {'CPU s':>6}  points above the default")
    plain = np.empty(0)
    for name in dict.fromkeys(["default", *given.only]):
        rights, losses, sizes, times = zip(*(judge(one, name, given.work) for one in data), strict=True)
        right = np.concatenate(rights)
        plain = right if name == "default" else plain
        low, high = interval(right - plain)
        gain = 100 * float((right - plain).mean())
        print(
            f"{name:<30} {right.mean():>7.4f} {np.mean(losses):>6.3f} {np.mean(sizes):>9.1f} {np.mean(times):>6.0f}  "
            f"{gain:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
