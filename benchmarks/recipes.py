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
from benchmarks.rivals import RIVALS
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.probe import LinearProbe, pooled_tokens
from protoquant.codebook.quantize import quantize
from protoquant.core.events import ignore
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import BudgetConfig, TrainConfig
from protoquant.head.inputs import TrainInputs, scoring
from protoquant.head.record import bundle_of
from protoquant.head.train import fit
from protoquant.model.bundle import Bundle
from protoquant.model.head import head_logits
from protoquant.model.scored_split import presence_scores
from protoquant.prune.apply import prune_bundle
from protoquant.settings.presets import Preset

CPU = torch.device("cpu")
PRESETS = Path(__file__).parents[1] / "presets"
UNTRAINED: Mapping[str, Mapping[str, object]] = {
    "random": {"seeding": "normal"},  # QuantizeConfig refuses such codes without a learner, since nobody wants them
    "kmeans": {"seeding": "kmeans++", "epochs": 20},
    "convex": {},
}
"""What is changed in quantize for the recipes whose codes are not trained together with the head."""
_HELD = ("validation", "test")


Sections = tuple[QuantizeConfig, TrainConfig]
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
    coding, training = paper_sections() if recipe == "paper" else (QuantizeConfig(), TrainConfig())
    if recipe in UNTRAINED:
        coding, training = (
            coding.model_copy(update=UNTRAINED[recipe]),
            training.model_copy(update={"choice": None, "joint": None}),
        )
    return _shorter(coding, training) if quick else (coding, training)


def _shorter(coding: QuantizeConfig, training: TrainConfig) -> Sections:
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


def write_aside(path: Path, text: str) -> None:
    """Write to a temporary file and rename it, so that a stopped run leaves no partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def paper_sections() -> tuple[QuantizeConfig, TrainConfig]:
    """Return the sections of the preset ``paper``."""
    values = Preset.open(PRESETS, "paper").values
    return QuantizeConfig.parse(values["quantize"]), TrainConfig.parse(values["train"])


def codebook_of(data: DataSet, config: QuantizeConfig, work: Path) -> tuple[Path, float]:
    """Learn a codebook unless it exists; return it with the CPU seconds that it took."""
    out = _codebook(data, config, work)
    if not out.with_suffix(".json").is_file():
        began = time.process_time()
        quantize(config, features=data.workspace.features, out=out, device=CPU, seed=data.seed, on_event=ignore)
        write_aside(out.with_suffix(".json"), json.dumps(time.process_time() - began))
    return out, _clock(data, config, work)


def _codebook(data: DataSet, config: QuantizeConfig, work: Path) -> Path:
    name = hashlib.sha256(f"{data.seed} {config.model_dump_json()}".encode()).hexdigest()[:12]
    return work / "codebooks" / f"{data.key}-{name}"


def _clock(data: DataSet, config: QuantizeConfig, work: Path) -> float:
    """Return the CPU seconds that the codebook took; 0 if it is no longer there."""
    path = _codebook(data, config, work).with_suffix(".json")
    return float(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else 0.0


def train_bundle(data: DataSet, config: TrainConfig, codebook: Path, work: Path) -> tuple[Bundle, float]:
    """Train a head on a codebook; return the bundle with the CPU seconds it took."""
    space = data.workspace
    began = time.process_time()
    given = TrainInputs.open(images=space.images, root=data.root, features=space.features, codebook=codebook)
    with scoring(config, given, work / "bundle", CPU, ignore) as room:
        trained = fit(config, given, room, device=CPU, seed=data.seed, on_event=ignore)
    return bundle_of(config, given, trained), time.process_time() - began


def _ours(
    data: DataSet, plan: Sections, budgets: Sequence[int], work: Path, *, recipe: str = "fast"
) -> Iterator[Measured]:
    coding, training = plan
    codebook, spent = codebook_of(data, coding, work)
    for budget in budgets:
        config = training.model_copy(update={"budget": BudgetConfig(sizes=(budget,)), "tolerance": 0.0})
        bundle, took = train_bundle(data, config, codebook, work)
        yield _test(data, recipe, budget, bundle, (spent + took, spent))


def _paper(data: DataSet, plan: Sections, budgets: Sequence[int], work: Path) -> Iterator[Measured]:
    coding, training = plan
    codebook, spent = codebook_of(data, coding, work)
    if training.prune is None:
        raise ValueError("the preset paper must prune")
    dense, took = train_bundle(data, training.model_copy(update={"prune": None}), codebook, work)
    stores = {name: FeatureStore.open(data.workspace.features / name) for name in ("train", "validation")}
    for budget in budgets:
        began = time.process_time()
        pruning = training.prune.model_copy(update={"budget": budget})
        pruned = prune_bundle(pruning, dense, stores, device=CPU, on_event=ignore).bundle
        yield _test(data, "paper", budget, pruned, (spent + took + time.process_time() - began, spent))


def _probe(data: DataSet, plan: Sections, _: Sequence[int], work: Path) -> Iterator[Measured]:
    codebook, spent = codebook_of(data, plan[0], work)
    probe, features = LinearProbe.open(codebook), data.workspace.features
    logits = {}
    for name in _HELD:
        store = FeatureStore.open(features / name)
        logits[name] = (probe.logits(pooled_tokens(store, 16_384, CPU)), store.labels)
    yield _row(data, "probe", (0, 0.0), logits, (spent, spent))


def _rival(data: DataSet, plan: Sections, _: Sequence[int], __: Path, *, recipe: str) -> Iterator[Measured]:
    train, validation = (FeatureStore.open(data.workspace.features / name) for name in ("train", "validation"))
    epochs = plan[1].joint.epochs // 2 if plan[1].joint is not None else 0
    began = time.process_time()
    rival = RIVALS[recipe](train, validation, epochs, data.seed)
    spent = time.process_time() - began
    held = (validation, FeatureStore.open(data.workspace.features / "test"))
    with torch.inference_mode():
        logits = {name: (rival.logits(store), store.labels) for name, store in zip(_HELD, held, strict=True)}
    yield _row(data, recipe, (0, rival.class_size), logits, (spent, 0.0))


def _test(data: DataSet, recipe: str, budget: int, bundle: Bundle, cpu: tuple[float, float]) -> Measured:
    logits = {}
    with torch.inference_mode():
        for name in _HELD:
            store = FeatureStore.open(data.workspace.features / name)
            scores = presence_scores(store, bundle.codebook, bundle.temperature, 32)
            logits[name] = (head_logits(scores, bundle.head), store.labels)
    size = float((bundle.head > 0).sum()) / len(bundle.classes)
    return _row(data, recipe, (budget, size), logits, cpu)


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
    **{name: partial(_ours, recipe=name) for name in UNTRAINED},
    "fast": _ours,
    "paper": _paper,
}
"""The recipes, in the order of tables."""
BUDGETED = (*UNTRAINED, "fast", "paper")
"""Those that can be asked for a number of prototypes per class."""
