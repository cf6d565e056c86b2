"""Trains models from params sections on stored features, by the product's own steps, and times them."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch.nn.functional import cross_entropy

from benchmarks.datasets import DataSet
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.probe import top1
from protoquant.codebook.quantize import quantize
from protoquant.core.events import ignore
from protoquant.core.seeding import torch_generator
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import BudgetConfig, JointConfig, TrainConfig
from protoquant.head.inputs import TrainInputs, scoring
from protoquant.head.joint import joint_epochs
from protoquant.head.record import bundle_of
from protoquant.head.train import fit
from protoquant.model.bundle import Bundle
from protoquant.model.head import head_logits
from protoquant.model.scored_split import presence_scores
from protoquant.prune.apply import prune_trained

CPU = torch.device("cpu")
Sections = tuple[QuantizeConfig, TrainConfig]


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        budget: Prototypes per class asked for.
        bundle: The model.
        cpu: Seconds of all threads from features to model.
        codes_cpu: Of these, those of the codebook and the probe.
    """

    budget: int
    bundle: Bundle
    cpu: float
    codes_cpu: float

    @property
    def class_size(self) -> float:
        """Actual prototypes per class."""
        return float((self.bundle.head > 0).sum()) / len(self.bundle.classes)


def codebook_of(data: DataSet, config: QuantizeConfig, work: Path) -> tuple[Path, float]:
    """Learn a codebook unless it exists; return it with the CPU seconds that it took."""
    out = _codebook(data, config, work)
    if not out.with_suffix(".json").is_file():
        began = time.process_time()
        space = data.workspace
        quantize(
            config, features=space.features, parts=space.parts, out=out, device=CPU, seed=data.seed, on_event=ignore
        )
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


def models(data: DataSet, plan: Sections, budgets: Sequence[int], work: Path) -> Iterator[Model]:
    """Make the models of a plan, by the product's own steps; train and validation alone are opened.

    Args:
        data: Images and features.
        plan: The sections. A plan that prunes trains one dense head and cuts it to each budget; a head that is within
            a budget already stays as it is, and joint training follows the cut. Another plan fits a head for each
            budget.
        budgets: Most prototypes per class.
        work: Where codebooks are kept.

    Yields:
        The model of each budget; work that budgets share counts in full for each.
    """
    coding, training = plan
    codebook, spent = codebook_of(data, coding, work)
    if training.prune is None:
        for budget in budgets:
            sizes = (training.budget or BudgetConfig()).model_copy(update={"sizes": (budget,)})
            config = training.model_copy(update={"budget": sizes, "tolerance": 0.0})
            bundle, took = train_bundle(data, config, codebook, work)
            yield Model(budget, bundle, spent + took, spent)
        return
    dense, took = train_bundle(data, training.model_copy(update={"prune": None, "joint": None}), codebook, work)
    stores = {name: features_of(data, dense, name) for name in ("train", "validation")}
    for budget in budgets:
        began = time.process_time()
        pruning = training.prune.model_copy(update={"budget": budget})
        bundle = prune_trained(pruning, dense, stores, device=CPU, on_event=ignore)[0]
        if training.joint is not None:
            bundle = together(bundle, training.joint, stores, data.seed)
        yield Model(budget, bundle, spent + took + time.process_time() - began, spent)


def together(bundle: Bundle, config: JointConfig, stores: Mapping[str, FeatureStore], seed: int) -> Bundle:
    """Train codes and head of a pruned model together, as the paper's code does after it has limited the classes.

    The product trains them together before it prunes; the rule that keeps an epoch is the same.
    """
    train, validation = stores["train"], stores["validation"]
    epochs = joint_epochs(
        (train, *train.views),
        bundle.codebook,
        bundle.head,
        bundle.temperature,
        config=config,
        class_weights=None,
        generator=torch_generator(seed, "head", "joint"),
    )
    best = None
    for epoch in epochs:
        moved = replace(bundle, codebook=epoch.codebook, head=epoch.weights)
        logits = logits_of(moved, validation)
        loss = float(cross_entropy(logits.double(), validation.labels))
        merit = (top1(logits, validation.labels), -loss)
        if best is None or merit > best[0]:
            best = (merit, moved)
    if best is None:
        raise ValueError("joint training of no epoch gives no head")
    return best[1]


def features_of(data: DataSet, bundle: Bundle, split: str) -> FeatureStore:
    """The features of a split, with the layers that the model sees."""
    return FeatureStore.open(data.workspace.features / split, bundle.backbone.layers)


def logits_of(bundle: Bundle, store: FeatureStore) -> Float[torch.Tensor, "n c"]:
    """Score the images of a split."""
    with torch.inference_mode():
        return head_logits(presence_scores(store, bundle.codebook, bundle.temperature, 32), bundle.head)


def write_aside(path: Path, text: str) -> None:
    """Write to a temporary file and rename it, so that a stopped run leaves no partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
