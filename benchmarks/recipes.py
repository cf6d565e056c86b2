"""Trains models by the recipes that the benchmarks compare, and measures each on the test split once it is finished."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.datasets import DataSet
from benchmarks.former import free_quantize, free_train
from benchmarks.rivals import RIVALS
from benchmarks.training import CPU, Model, Sections, codebook_of, features_of, logits_of, models, write_aside
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.probe import LinearProbe, pooled_tokens
from protoquant.features.config import LAST
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import TrainConfig
from protoquant.settings.presets import Preset

PRESETS = Path(__file__).parents[1] / "presets"
UNTRAINED: Mapping[str, Mapping[str, object]] = {
    "random": {
        "layers": (LAST,),
        "seeding": "normal",
    },  # QuantizeConfig refuses such codes without a learner, since nobody wants them
    "kmeans": {"layers": (LAST,), "seeding": "kmeans++", "epochs": 20},
    "convex": {"layers": (LAST,)},
}
"""What is changed in quantize for the recipes whose codes are not trained together with the head."""
BEFORE: Mapping[str, Mapping[str, object]] = {"quantize": {"layers": (LAST,)}, "train": {"choice": None}}
"""What made the default of before: the last layer alone, and a choice on validation; frozen here."""
_HELD = ("validation", "test")


Way = Callable[[DataSet, Sections, Sequence[int], Path], Iterator["Measured"]]


@dataclass(frozen=True)
class Measured:
    """One model on the test split.

    Attributes:
        data: Name of the data set.
        seed: Seed of images and training.
        recipe: A key of RECIPES.
        budget: Prototypes per class asked for; 0 where none can be asked for.
        class_size: Actual prototypes per class.
        validation_top1: Accuracy on validation, in [0, 1].
        test_top1: Accuracy on test, in [0, 1].
        cpu: Seconds of all threads from features to model; work that budgets share counts for each.
        right: One character for each test image, 1 where the answer is right.
        codes_cpu: Of these seconds, those of the codebook and the probe.
        images: Name of the test images; seeds of photos share them.
    """

    data: str
    seed: int
    recipe: str
    budget: int
    class_size: float
    validation_top1: float
    test_top1: float
    cpu: float
    right: str
    codes_cpu: float = 0.0
    images: str = ""


def measure(data: DataSet, recipe: str, budgets: Sequence[int], work: Path, *, quick: bool = False) -> list[Measured]:
    """Make the models of one recipe, or read the results of an earlier run with the same values and features.

    Every budget is kept as soon as it is measured. A change of the code goes unnoticed: remove ``results`` in the work
    folder after one.

    Args:
        data: Images and features.
        recipe: A key of RECIPES.
        budgets: Prototypes per class; the probe and the rivals take none.
        work: Where codebooks and results are kept.
        quick: Much shorter training, to check that everything runs.
    """
    plan, wanted = sections_of(recipe, quick=quick), list(budgets) if recipe in BUDGETED else [0]
    places = {budget: _kept(data, recipe, budget, plan, work) for budget in wanted}
    missing = [budget for budget in wanted if not places[budget].is_file()]
    for one in RECIPES[recipe](data, plan, missing, work) if missing else ():
        write_aside(places[one.budget], json.dumps(asdict(one)))
    found = [Measured(**json.loads(file.read_text(encoding="utf-8"))) for file in places.values()]
    images = FeatureStore.open(data.workspace.features / "test").digest
    return [replace(one, images=images) for one in found]


def sections_of(recipe: str, *, quick: bool = False) -> Sections:
    """Return the values of a recipe; the probe is that of the default codebook, and no head is trained for it."""
    coding, training = paper_sections() if recipe == "paper" else (free_quantize(), free_train())
    if recipe in UNTRAINED:
        coding, training = (
            coding.model_copy(update=UNTRAINED[recipe]),
            training.model_copy(update={"choice": None, "joint": None}),
        )
    if recipe == "before":
        coding, training = coding.model_copy(update=BEFORE["quantize"]), training.model_copy(update=BEFORE["train"])
    return shorter(coding, training) if quick else (coding, training)


def shorter(coding: QuantizeConfig, training: TrainConfig) -> Sections:
    """Return the sections with two epochs wherever epochs are counted, and with few codes."""
    short = {"epochs": 2, "warmup_epochs": 1}
    few = {"size": 3 if coding.size_unit == "class" else 32}
    if coding.gradient is not None:
        few |= {"epochs": 2, "gradient": coding.gradient.model_copy(update={"warmup_epochs": 1})}
    less: dict[str, object] = {}
    if training.gradient is not None:
        less["gradient"] = training.gradient.model_copy(update=short)
    if training.joint is not None:
        less["joint"] = training.joint.model_copy(update={"epochs": 2})
    return coding.model_copy(update=few), training.model_copy(update=less)


def _kept(data: DataSet, recipe: str, budget: int, plan: Sections, work: Path) -> Path:
    """Return the file for the result of these values."""
    said = [plan[0].model_dump_json(), None if recipe == "probe" else plan[1].model_dump_json()]
    digest = FeatureStore.open(data.workspace.features / "train").digest
    key = hashlib.sha256(json.dumps([data.name, data.seed, recipe, budget, said, digest]).encode()).hexdigest()
    return work / "results" / f"{key[:16]}.json"


def paper_sections() -> tuple[QuantizeConfig, TrainConfig]:
    """Return the sections of the preset ``paper``."""
    values = Preset.open(PRESETS, "paper").values
    return QuantizeConfig.parse(values["quantize"]), TrainConfig.parse(values["train"])


def _trained(data: DataSet, plan: Sections, budgets: Sequence[int], work: Path, *, recipe: str) -> Iterator[Measured]:
    for model in models(data, plan, budgets, work):
        yield tested(data, recipe, model)


def _probe(data: DataSet, plan: Sections, _: Sequence[int], work: Path) -> Iterator[Measured]:
    codebook, spent = codebook_of(data, plan[0], work)
    probe, features = LinearProbe.open(codebook), data.workspace.features
    logits = {}
    for name in _HELD:
        store = FeatureStore.open(features / name)
        logits[name] = (probe.of_pooled(pooled_tokens(store, 16_384, CPU)), store.labels)
    yield _row(data, "probe", (0, 0.0), logits, (spent, spent))


def _rival(data: DataSet, plan: Sections, _: Sequence[int], __: Path, *, recipe: str) -> Iterator[Measured]:
    train, validation, test = (
        FeatureStore.open(data.workspace.features / name, (LAST,)) for name in ("train", "validation", "test")
    )
    epochs = plan[1].joint.epochs // 2 if plan[1].joint is not None else 0
    began = time.process_time()
    rival = RIVALS[recipe](train, validation, epochs, data.seed)
    spent = time.process_time() - began
    held = (validation, test)
    with torch.inference_mode():
        logits = {name: (rival.logits(store), store.labels) for name, store in zip(_HELD, held, strict=True)}
    yield _row(data, recipe, (0, rival.class_size), logits, (spent, 0.0))


def tested(data: DataSet, recipe: str, model: Model) -> Measured:
    """Measure a finished model on validation and, once, on test."""
    logits = {}
    for name in _HELD:
        store = features_of(data, model.bundle, name)
        logits[name] = (logits_of(model.bundle, store), store.labels)
    size = (model.budget, model.class_size)
    return _row(data, recipe, size, logits, (model.cpu, model.codes_cpu))


def _row(
    data: DataSet,
    recipe: str,
    size: tuple[int, float],
    logits: dict[str, tuple[torch.Tensor, torch.Tensor]],
    cpu: tuple[float, float],
) -> Measured:
    """Collect the numbers of a model.

    Args:
        data: Images and features.
        recipe: Name of the recipe.
        size: Budget, and actual prototypes per class.
        logits: Logits and labels, of validation and test.
        cpu: CPU seconds in all, and of the codebook.
    """
    held, right = (logits[name][0].argmax(dim=1) == logits[name][1] for name in _HELD)
    bits = "".join("01"[bit] for bit in right.int().tolist())
    accuracies = (float(part.double().mean()) for part in (held, right))
    return Measured(data.name, data.seed, recipe, *size, *accuracies, cpu[0], bits, cpu[1])


RECIPES: dict[str, Way] = {
    "probe": _probe,
    **{name: partial(_rival, recipe=name) for name in RIVALS},
    **{name: partial(_trained, recipe=name) for name in (*UNTRAINED, "before", "fast", "paper")},
}
"""The recipes, in the order of tables."""
BUDGETED = (*UNTRAINED, "before", "fast", "paper")
"""Those that can be asked for a number of prototypes per class."""
