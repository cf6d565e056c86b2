"""The ways to a model that the benchmarks compare, each measured on the test split once it is finished."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.datasets import DataSet
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.probe import LinearProbe, pooled_tokens
from protoquant.codebook.quantize import quantize
from protoquant.core.events import ignore
from protoquant.features.store import FeatureStore
from protoquant.head.bundle import Bundle
from protoquant.head.config import BudgetConfig, TrainConfig
from protoquant.head.head import head_logits
from protoquant.head.inputs import TrainInputs, scoring
from protoquant.head.presence import presence_scores
from protoquant.head.prune.apply import prune_bundle
from protoquant.head.record import bundle_of
from protoquant.head.train import fit
from protoquant.presets import Preset

CPU = torch.device("cpu")
PRESETS = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True)
class Measured:
    """One model on the test split.

    Attributes:
        data: Name of the data set.
        seed: Of images and learning.
        recipe: paper, fast, convex, or probe.
        budget: Prototypes per class asked for; 0 for the probe.
        class_size: Prototypes per class there are.
        validation_top1: In [0, 1].
        test_top1: In [0, 1].
        cpu: Seconds of all threads from features to model; what budgets share is counted in each.
        right: One character for each test image, 1 where the answer is right.
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


def measure(data: DataSet, recipe: str, budgets: Sequence[int], work: Path) -> Iterator[Measured]:
    """Make the models of one recipe, or read what an earlier run with the same values found.

    Args:
        data: Images and features.
        recipe: A key of RECIPES, or probe.
        budgets: Prototypes per class.
        work: Where codebooks and results are kept.
    """
    configs = PLANS[recipe]()
    said = [None if config is None else config.model_dump_json() for config in configs]
    digest = FeatureStore.open(data.workspace.features / "train").digest
    key = hashlib.sha256(json.dumps([data.name, data.seed, recipe, list(budgets), said, digest]).encode()).hexdigest()
    kept = work / "results" / f"{key[:16]}.json"
    if not kept.is_file():
        found = [asdict(one) for one in RECIPES[recipe](data, budgets, work)]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found), encoding="utf-8")
    for values in json.loads(kept.read_text(encoding="utf-8")):
        yield Measured(**values)


def paper_sections() -> tuple[QuantizeConfig, TrainConfig]:
    """The preset ``paper``."""
    values = Preset.open(PRESETS, "paper").values
    return QuantizeConfig.parse(values["quantize"]), TrainConfig.parse(values["train"])


def fast_sections() -> tuple[QuantizeConfig, TrainConfig]:
    """The defaults."""
    return QuantizeConfig(), TrainConfig()


def convex_sections() -> tuple[QuantizeConfig, TrainConfig]:
    """The defaults without joint training."""
    return QuantizeConfig(), TrainConfig(joint=None)


def codebook_of(data: DataSet, config: QuantizeConfig, work: Path) -> tuple[Path, float]:
    """Learn a codebook, and say how many CPU seconds it took, this time or when it was made."""
    name = hashlib.sha256(f"{data.seed} {config.model_dump_json()}".encode()).hexdigest()[:12]
    out = work / "codebooks" / f"{data.workspace.root.name}-{name}"
    clock = out.with_suffix(".json")
    if not clock.is_file():
        began = time.process_time()
        quantize(config, features=data.workspace.features, out=out, device=CPU, seed=data.seed, on_event=ignore)
        clock.write_text(json.dumps(time.process_time() - began), encoding="utf-8")
    return out, float(json.loads(clock.read_text(encoding="utf-8")))


def train_bundle(data: DataSet, config: TrainConfig, codebook: Path, work: Path) -> tuple[Bundle, float]:
    """Train a head on a codebook; CPU seconds beside it."""
    space = data.workspace
    began = time.process_time()
    given = TrainInputs.open(images=space.images, root=data.root, features=space.features, codebook=codebook)
    with scoring(config, given, work / "bundle", CPU, ignore) as room:
        trained = fit(config, given, room, device=CPU, seed=data.seed, on_event=ignore)
    return bundle_of(config, given, trained), time.process_time() - began


def _ours(data: DataSet, budgets: Sequence[int], work: Path, *, recipe: str) -> Iterator[Measured]:
    coding, training = PLANS[recipe]()
    codebook, spent = codebook_of(data, coding, work)
    for budget in budgets:
        config = training.model_copy(update={"budget": BudgetConfig(sizes=(budget,)), "tolerance": 0.0})
        bundle, took = train_bundle(data, config, codebook, work)
        yield _test(data, recipe, budget, bundle, spent + took)


def _paper(data: DataSet, budgets: Sequence[int], work: Path) -> Iterator[Measured]:
    coding, training = paper_sections()
    codebook, spent = codebook_of(data, coding, work)
    if training.prune is None:
        raise ValueError("the preset paper must prune")
    dense, took = train_bundle(data, training.model_copy(update={"prune": None}), codebook, work)
    stores = {name: FeatureStore.open(data.workspace.features / name) for name in ("train", "validation")}
    for budget in budgets:
        began = time.process_time()
        plan = training.prune.model_copy(update={"budget": budget})
        pruned = prune_bundle(plan, dense, stores, device=CPU, on_event=ignore).bundle
        yield _test(data, "paper", budget, pruned, spent + took + time.process_time() - began)


def _probe(data: DataSet, _: Sequence[int], work: Path) -> Iterator[Measured]:
    codebook, spent = codebook_of(data, QuantizeConfig(), work)
    probe, features = LinearProbe.open(codebook), data.workspace.features
    logits = {}
    for name in ("validation", "test"):
        store = FeatureStore.open(features / name)
        logits[name] = (probe.logits(pooled_tokens(store, 16_384, CPU)), store.labels)
    yield _row(data, "probe", (0, 0.0), validation=logits["validation"], test=logits["test"], cpu=spent)


def _test(data: DataSet, recipe: str, budget: int, bundle: Bundle, cpu: float) -> Measured:
    logits = {}
    with torch.inference_mode():
        for name in ("validation", "test"):
            store = FeatureStore.open(data.workspace.features / name)
            scores = presence_scores(store, bundle.codebook, bundle.temperature, 32)
            logits[name] = (head_logits(scores, bundle.head), store.labels)
    size = float((bundle.head > 0).sum()) / len(bundle.classes)
    return _row(data, recipe, (budget, size), validation=logits["validation"], test=logits["test"], cpu=cpu)


def _row(
    data: DataSet,
    recipe: str,
    size: tuple[int, float],
    *,
    validation: tuple[torch.Tensor, torch.Tensor],
    test: tuple[torch.Tensor, torch.Tensor],
    cpu: float,
) -> Measured:
    held, right = (logits.argmax(dim=1) == labels for logits, labels in (validation, test))
    bits = "".join("01"[bit] for bit in right.int().tolist())
    accuracies = (float(part.double().mean()) for part in (held, right))
    return Measured(data.name, data.seed, recipe, *size, *accuracies, cpu, bits)


def _fast(data: DataSet, budgets: Sequence[int], work: Path) -> Iterator[Measured]:
    yield from _ours(data, budgets, work, recipe="fast")


def _convex(data: DataSet, budgets: Sequence[int], work: Path) -> Iterator[Measured]:
    yield from _ours(data, budgets, work, recipe="convex")


PLANS: dict[str, Callable[[], tuple[QuantizeConfig, TrainConfig | None]]] = {
    "probe": lambda: (QuantizeConfig(), None),
    "fast": fast_sections,
    "convex": convex_sections,
    "paper": paper_sections,
}
RECIPES: dict[str, Callable[[DataSet, Sequence[int], Path], Iterator[Measured]]] = {
    "probe": _probe,
    "fast": _fast,
    "convex": _convex,
    "paper": _paper,
}
