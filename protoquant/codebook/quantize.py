"""The quantize step, which turns train features into the codebook, its grounding and the linear probe."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.codebook.codebook import KIND, Codebook
from protoquant.codebook.config import QuantizeConfig, read_layers, recorded
from protoquant.codebook.grounding import Grounding, NearestPatches, ground
from protoquant.codebook.joined_source import all_views
from protoquant.codebook.learning import learn_codebook
from protoquant.codebook.probe import FittedProbe, best_probe, pooled_tokens
from protoquant.codebook.seeding.size import resolve_size
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.codebook.space.source import in_space
from protoquant.codebook.task.quantisation_gap import quantised_top1
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import TokenSource, image_batches, own_part, token_batches
from protoquant.codebook.usage import CodebookHealth, UsageCounter
from protoquant.core.artifacts import rounded, write_json, write_table, writing
from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.distributed.ranks import own, rank
from protoquant.features.object_cells import save_object_cells, train_object_cells
from protoquant.features.store.store import FeatureStore


@dataclass(frozen=True)
class QuantizeResult:
    """Result of quantize.

    Attributes:
        out: The output folder.
        k: Number of codes.
        train: Health of the final codes over the train tokens.
        validation: Health of the final codes over the validation tokens.
        probe_train_top1: Accuracy of the linear probe on train, in [0, 1].
        probe_validation_top1: Accuracy of the linear probe on validation, in [0, 1].
    """

    out: Path
    k: int
    train: CodebookHealth
    validation: CodebookHealth
    probe_train_top1: float
    probe_validation_top1: float


def quantize(
    config: QuantizeConfig,
    *,
    features: Path,
    out: Path,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
    parts: Path | None = None,
    probe: FittedProbe | None = None,
) -> QuantizeResult:
    """Learn the codebook and fit the linear probe; in a distributed run, the first process writes them.

    Only the train and validation features are opened. Memory does not grow with the number of images, except for
    the probe's one pooled vector per image.

    Args:
        config: The params section.
        features: Output folder of extract.
        out: Folder to write; an older one is replaced.
        device: Device to compute on.
        seed: The seed of params.yaml.
        on_event: Receives an event for each epoch.
        parts: The artifact of parts; its train masks are read with ``seeding_on_object``, and nothing without it.
        probe: Result of :func:`features_probe` for these features and this section; None to fit it here.

    Returns:
        Sizes and final numbers.

    Raises:
        ConfigError: The size does not suit the train tokens, or there are no masks for ``seeding_on_object``; nothing
            was written.
        DataError: A class has no train image or too few patches, an image has no mask, validation is empty, or a token
            holds NaN or infinity.
        ArtifactError: The features or parts are missing or damaged.
        ValueError: ``seeding_on_object`` is set but ``parts`` is None.
    """
    train, validation = (FeatureStore.open(features / name, config.layers) for name in ("train", "validation"))
    size = resolve_size(config, train.labels, train.t)
    layers = read_layers(config, train.backbone.layers)
    _check_validation(train, validation)
    cells, seen = _object_cells(config, parts, train)
    fitted = probe or features_probe(config, train, validation, device)
    on_event(MessageEvent(f"linear probe: validation top-1 {fitted.validation_top1:.4f}, n = {validation.n}"))
    learned = learn_codebook(
        config, train, size, fitted.probe, seen=all_views(train), seed=seed, on_event=on_event, on_object=cells
    )
    codebook = learned.codebook
    train_health, grounding = _measure_and_ground(train, codebook, config.batch)
    validation_health = measure(validation, codebook, config.batch)
    quantised = _quantised_numbers(config, validation, learned.codes, codebook, fitted)
    on_event(MessageEvent(_sentence(size.k, train_health, validation_health)))
    result = QuantizeResult(out, size.k, train_health, validation_health, fitted.train_top1, fitted.validation_top1)
    if rank() > 0:
        return result
    inputs = {"features/train": train.digest, "features/validation": validation.digest, **seen}
    with writing(out, KIND, inputs, params=recorded(config, layers)) as folder:
        codebook.to(torch.device("cpu")).save(folder)
        fitted.probe.save(folder)
        if cells is not None:
            save_object_cells(folder, cells)
        write_table(folder / "grounding.parquet", _grounding_table(train, codebook, grounding))
        pd.DataFrame(learned.history).to_csv(
            folder / "history.csv", index=False, float_format="%.6f", lineterminator="\n"
        )
        write_json(
            folder / "metrics.json",
            rounded(
                {
                    "k": size.k,
                    "grounding_cosine": float(grounding.cosines.mean()),
                    "train": train_health.numbers(),
                    "validation": validation_health.numbers(),
                    "probe": _probe_numbers(fitted, train.n, validation.n),
                    **({} if quantised is None else {"quantised": quantised}),
                }
            ),
        )
    return result


def _object_cells(
    config: QuantizeConfig, parts: Path | None, train: FeatureStore
) -> tuple[Bool[Tensor, "n t"] | None, dict[str, str]]:
    """The cells of the train images that seeding may look at, None for all, and the digest of what says so."""
    if not config.seeding_on_object:
        return None, {}
    if parts is None:
        raise ValueError("quantize.seeding_on_object needs masks: pass parts")
    cells, digest = train_object_cells(parts, train)
    return cells, {"parts/train": digest}


def features_probe(
    config: QuantizeConfig, train: FeatureStore, validation: FeatureStore, device: torch.device
) -> FittedProbe:
    """Fit the linear probe, which is the same for every codebook of the same features.

    Args:
        config: The params section; only the probe's keys and ``batch`` matter.
        train: Train features.
        validation: Validation features; they choose the penalty.
        device: Device to compute on and to keep the probe on.

    Raises:
        DataError: A token holds NaN or infinity.
    """
    return best_probe(
        pooled_tokens(train, config.batch, device),
        own_part(train).labels.to(device),
        pooled_tokens(validation, config.batch, device),
        own_part(validation).labels.to(device),
        last=train.layers[-1].d,
        penalties=config.probe_penalties,
        iterations=config.probe_iterations,
    )


def measure(source: TokenSource, codebook: Codebook, batch: int) -> CodebookHealth:
    """Measure how well a codebook covers all tokens of a source.

    Args:
        source: Tokens of any split.
        codebook: The codes, on the device to compute on.
        batch: Tokens per step, rounded down to whole images.
    """
    usage = UsageCounter(codebook.k)
    part = own_part(source)
    for images in image_batches(part, batch):
        assignment = codebook.assign(part.tokens(images).to(codebook.codes.device))
        usage.add(assignment.indices, assignment.similarities)
    return usage.over_ranks().health()


def _check_validation(train: FeatureStore, validation: FeatureStore) -> None:
    if validation.n == 0 or int(validation.labels.max()) > int(train.labels.max()):
        raise DataError("validation must hold images, all of classes that train has too; run prepare")
    if validation.d != train.d:
        raise DataError(f"validation tokens have {validation.d} dimensions, train tokens {train.d}; run extract")


def _measure_and_ground(train: FeatureStore, codebook: Codebook, batch: int) -> tuple[CodebookHealth, Grounding]:
    """Measure the codes and find their patches in one pass."""
    usage = UsageCounter(codebook.k)
    source, norm = in_space(train, codebook.norm)
    patches = NearestPatches(codebook.codes, first=own(train.n).start * train.t)
    for tokens in token_batches(in_space(own_part(train), codebook.norm)[0], batch):
        units = norm.units(tokens.to(codebook.codes.device))
        similarities = (units @ codebook.codes.T).clamp_(-1.0, 1.0)
        best, indices = similarities.max(dim=1)
        usage.add(indices, best)
        patches.add(units, similarities)
    return usage.over_ranks().health(), ground(source, norm, codebook.codes, patches.over_ranks(), batch)


def _grounding_table(train: FeatureStore, codebook: Codebook, grounding: Grounding) -> pd.DataFrame:
    """The train patch of every code, with the cosine of the code as it was written."""
    cosines = (codebook.codes * grounding.units).sum(dim=1).clamp(-1.0, 1.0).cpu()
    columns = train.grid[1]
    return pd.DataFrame(
        {
            "code": range(codebook.k),
            "image_id": [train.image_ids[image] for image in grounding.images.tolist()],
            "row": (grounding.cells // columns).numpy(),
            "col": (grounding.cells % columns).numpy(),
            "cosine": cosines.numpy(),
        }
    )


def _probe_numbers(fitted: FittedProbe, train: int, validation: int) -> dict[str, float]:
    return {
        "penalty": fitted.penalty,
        "train_top1": fitted.train_top1,
        "train_n": train,
        "validation_top1": fitted.validation_top1,
        "validation_n": validation,
    }


def _quantised_numbers(
    config: QuantizeConfig,
    validation: FeatureStore,
    learned: Float[Tensor, "k d"],
    codebook: Codebook,
    fitted: FittedProbe,
) -> dict[str, float] | None:
    """Accuracy of the probe on quantised validation maps, with unit codes and with codes of the learned lengths.

    None for several layers: no token of theirs can be put in the place of a cell of the joint space.
    """
    norm, head = codebook.norm, TaskHead(fitted.probe)
    if isinstance(norm, LayerSpace):
        return None
    flat, _ = in_space(validation, norm)
    top1 = quantised_top1(flat, codebook.codes, norm, head, batch=config.batch)
    numbers = {"validation_top1": top1, "validation_gap": top1 - fitted.validation_top1}
    if config.learner != "gradient":
        return numbers
    own = quantised_top1(flat, learned, norm, head, batch=config.batch, metric=config.metric, scaled=False)
    return numbers | {"learned_validation_top1": own, "learned_validation_gap": own - fitted.validation_top1}


def _sentence(k: int, train: CodebookHealth, validation: CodebookHealth) -> str:
    return (
        f"{k} codes: quantisation error {train.quantization_error:.4f} on train, "
        f"{validation.quantization_error:.4f} on validation; perplexity {train.perplexity:.1f}, "
        f"dead share {train.dead_share:.4f}"
    )
