"""Measure what each lever is worth: the default with one value changed, on validation, over several seeds.

Every row is a run of quantize and train at ten prototypes per class. Differences of accuracy and of cross-entropy to
the default are paired by image; intervals are 95 % bootstrap intervals over the validation images of all seeds, where
images that seeds share (photos) count once. The test split is not opened. A stopped run resumes where it was, as in
benchmarks.accuracy.

Augmented views are stored by extract: to measure them, extract the same images with extract.views into another folder
and name it by --reuse photos-views=FOLDER or partbirds50-SEED-views=FOLDER.

Run: python -m benchmarks.levers [--photos FOLDER] [--seeds 0 1 2] [--only NAME ...] [--threads 2]
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch.nn.functional import cross_entropy

from benchmarks.datasets import DataSet, Places, add_arguments, one_of
from benchmarks.former import free_quantize, free_train
from benchmarks.intervals import interval, of_images
from benchmarks.training import codebook_of, features_of, train_bundle, write_aside
from protoquant.codebook.config import QuantizeConfig
from protoquant.core.workspace import Workspace
from protoquant.features.config import LAST
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import TrainConfig
from protoquant.model.head import head_logits
from protoquant.model.scored_split import presence_scores

PER_CLASS = 10
VIEWS, _VIEWED = "augmented views", "-views"
LEVERS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "default": {},
    "no joint training": {"train": {"joint": None}},
    "no prototype dropout": {"joint": {"prototype_dropout": 0.0}},
    "prototype dropout 0.25": {"joint": {"prototype_dropout": 0.25}},
    "10 joint epochs": {"joint": {"epochs": 10}},
    "20 joint epochs": {"joint": {"epochs": 20}},
    "labels smoothed by 0.1": {"joint": {"smoothing": 0.1}},
    "temperature 0.03 alone": {"train": {"temperature": 0.03}},
    "temperature 0.05 alone": {"train": {"temperature": 0.05}},
    "temperature 0.1 alone": {"train": {"temperature": 0.1}},
    "5 codes a class": {"quantize": {"size": 5}},
    "7 codes a class": {"quantize": {"size": 7}},
    "15 codes a class": {"quantize": {"size": 15}},
    "k-means++ over all": {"quantize": {"size_unit": "codebook", "seeding": "kmeans++", "epochs": 20}},
    "all patches seed codes": {"quantize": {"seeding_share": 1.0}},
    "l2, last layer": {"quantize": {"feature_norm": "l2", "layers": (LAST,)}},
    "whitened, last layer": {"quantize": {"feature_norm": "whiten", "layers": (LAST,)}},
    "L1 path, no joint": {"train": {"solver": "proximal", "budget": None, "joint": None, "max_class_size": PER_CLASS}},
    "codes are mean of 8 patches": {"train": {"joint": None, "grounding": "mean", "grounding_patches": 8}},
    "codes are medoids": {"train": {"joint": None, "grounding": "medoid"}},
    VIEWS: {},
}


@dataclass(frozen=True)
class Judged:
    """One model on validation.

    Attributes:
        right: For each image 1.0 where the answer is right, else 0.0.
        loss: For each image its cross-entropy, in nats.
        class_size: Prototypes per class.
        cpu: Seconds of all threads from features to model.
        images: Name of the validation images.
    """

    right: Float[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    class_size: float
    cpu: float
    images: str


@dataclass(frozen=True)
class Gain:
    """A lever over all seeds; differences are to the default, with the ends of their intervals."""

    name: str
    top1: float
    loss: float
    class_size: float
    cpu: float
    gained: tuple[float, float, float]
    lost: tuple[float, float, float]


def sections(lever: Mapping[str, Mapping[str, Any]], classes: int) -> tuple[QuantizeConfig, TrainConfig]:
    """Return the default with the lever's values; a shared codebook is as large as all class codebooks together."""
    quantize, train = free_quantize().model_dump(mode="json"), free_train().model_dump(mode="json")
    train |= {"budget": {**train["budget"], "sizes": [PER_CLASS]}, "tolerance": 0.0}
    train["joint"] |= lever.get("joint", {})
    train |= lever.get("train", {})
    quantize |= lever.get("quantize", {})
    if quantize["size_unit"] == "codebook":
        quantize["size"] *= classes
    return QuantizeConfig.parse(quantize), TrainConfig.parse(train)


def judge(data: DataSet, name: str, work: Path) -> Judged:
    """Make the model of a lever and measure it on validation, or read the result of an earlier run."""
    features = data.workspace.features
    store = FeatureStore.open(features / "validation")
    quantizing, training = sections(LEVERS[name], int(store.labels.max()) + 1)
    digests = [FeatureStore.open(features / part).digest for part in ("train", "validation")]
    said = [data.key, data.seed, quantizing.model_dump_json(), training.model_dump_json(), *digests]
    kept = work / "levers" / f"{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]}.json"
    if not kept.is_file():
        codebook, learned = codebook_of(data, quantizing, work)
        bundle, spent = train_bundle(data, training, codebook, work)
        store = features_of(data, bundle, "validation")
        with torch.inference_mode():
            logits = head_logits(presence_scores(store, bundle.codebook, bundle.temperature, 32), bundle.head)
        values = {
            "right": (logits.argmax(dim=1) == store.labels).double().tolist(),
            "loss": cross_entropy(logits.double(), store.labels, reduction="none").tolist(),
            "class_size": float((bundle.head > 0).sum()) / len(bundle.classes),
            "cpu": learned + spent,
        }
        write_aside(kept, json.dumps(values))
    values = json.loads(kept.read_text(encoding="utf-8"))
    right, loss = (np.array(values.pop(name)) for name in ("right", "loss"))
    return Judged(right, loss, images=data.key.removesuffix(_VIEWED), **values)


def compare(name: str, own: Sequence[Judged], plain: Sequence[Judged]) -> Gain:
    """Combine the seeds of a lever and compare them with the default's.

    Args:
        name: Name of the lever.
        own: The lever's model for each seed.
        plain: The default's model for each seed, in the same order.

    Raises:
        ValueError: The two were measured on different images.
    """
    images = [one.images for one in own]
    if images != [one.images for one in plain]:
        raise ValueError(f"{name} was measured on other validation images than the default")
    right, loss = of_images([one.right for one in own], images), of_images([one.loss for one in own], images)
    gained = right - of_images([one.right for one in plain], images)
    lost = loss - of_images([one.loss for one in plain], images)
    sizes, times = [one.class_size for one in own], [one.cpu for one in own]
    return Gain(
        name,
        float(right.mean()),
        float(loss.mean()),
        float(np.mean(sizes)),
        float(np.mean(times)),
        (float(gained.mean()), *interval(gained)),
        (float(lost.mean()), *interval(lost)),
    )


def row(gain: Gain) -> str:
    """Return a lever as one line."""
    points = "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * value for value in gain.gained))
    nats = "{:+.3f} ({:+.3f} to {:+.3f})".format(*gain.lost)
    return (
        f"{gain.name:<30} {gain.top1:>7.4f} {gain.loss:>6.3f} {gain.class_size:>9.1f} {gain.cpu:>6.0f}  "
        f"{points:<25} {nats}"
    )


def viewed(data: DataSet, places: Places) -> DataSet | None:
    """Return the same images with augmented views of the train split; None if there is no such folder.

    Raises:
        ValueError: The folder holds other images.
    """
    name = f"{'photos' if places.has_photos else data.key}{_VIEWED}"
    folder = places.reuse.get(name)
    if folder is None:
        return None
    made = replace(data, key=f"{data.key}{_VIEWED}", workspace=Workspace(folder))
    ids = [FeatureStore.open(one.workspace.features / "validation").image_ids for one in (data, made)]
    if ids[0] != ids[1]:
        raise ValueError(f"{folder} holds other validation images than {data.workspace.root}; extract the same ones")
    return made


def main() -> None:
    """Print the table, each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=LEVERS, default=list(LEVERS), help="default is always run")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    places = Places.of(given)
    data = [one_of(seed, places) for seed in given.seeds]
    plain = [judge(one, "default", given.work) for one in data]
    n = len(of_images([one.right for one in plain], [one.images for one in plain]))
    print(f"{data[0].name}, seeds {', '.join(map(str, given.seeds))}; {n:,} validation images")
    print(
        f"{'':<30} {'top-1':>7} {'loss':>6} {'per class':>9} {'CPU s':>6}  {'points above the default':<25} "
        "nats above the default"
    )
    for name in dict.fromkeys(["default", *given.only]):
        sets = [viewed(one, places) if name == VIEWS else one for one in data]
        found = [judge(one, name, given.work) for one in sets if one is not None]
        if len(found) < len(data):
            print(f"{name:<30} not measured: no --reuse ...-views=FOLDER for every seed")
            continue
        print(row(compare(name, found, plain)), flush=True)


if __name__ == "__main__":
    main()
