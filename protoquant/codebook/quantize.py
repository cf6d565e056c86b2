"""The quantize step, which turns train features into the codebook, its grounding and the linear probe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.codebook import KIND, Codebook
from protoquant.codebook.config import Drawn, QuantizeConfig
from protoquant.codebook.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.codebook.grounding import Grounding, NearestPatches, ground
from protoquant.codebook.learners.learn import learn
from protoquant.codebook.probe import FittedProbe, LinearProbe, fit_probe, pooled_tokens
from protoquant.codebook.seeding.class_aware import class_aware_codes
from protoquant.codebook.seeding.draw import drawn_codes
from protoquant.codebook.seeding.initialise import farthest, kmeans_plus_plus, random_patches, with_direction
from protoquant.codebook.seeding.size import CodebookSize, resolve_size
from protoquant.codebook.task.quantisation_gap import quantised_top1
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import Sampled, TokenSource, all_views, own_part, sample_tokens, token_batches
from protoquant.codebook.usage import CodebookHealth, UsageCounter
from protoquant.core.artifacts import rounded, write_json, write_table, writing
from protoquant.core.errors import ConfigError, DataError
from protoquant.core.events import EpochEvent, MessageEvent, OnEvent
from protoquant.core.seeding import torch_generator
from protoquant.distributed.ranks import from_first_rank, own, rank
from protoquant.features.store.store import FeatureStore

_LABEL = "quantize"
# Numbers in an epoch's event; history.csv holds all of them.
_TOLD = ("loss", "quantization_error", "perplexity", "dead_share", "revived")


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
        probe: Result of :func:`features_probe` for these features and this section; None to fit it here.

    Returns:
        Sizes and final numbers.

    Raises:
        ConfigError: The size does not suit the train tokens; nothing was written.
        DataError: A class has no train image, validation is empty, or a token holds NaN or infinity.
        ArtifactError: The features are missing or damaged.
    """
    train, validation = FeatureStore.open(features / "train"), FeatureStore.open(features / "validation")
    size = resolve_size(config, train.labels, train.t)
    _check_validation(train, validation)
    fitted = probe or features_probe(config, train, validation, device)
    on_event(MessageEvent(f"linear probe: validation top-1 {fitted.validation_top1:.4f}, n = {validation.n}"))
    learned, codebook, history = _learn(config, train, size, fitted.probe, seed=seed, on_event=on_event)
    train_health, grounding = _measure_and_ground(train, codebook, config.batch)
    validation_health = measure(validation, codebook, config.batch)
    quantised = _quantised_numbers(config, validation, learned, codebook, fitted)
    on_event(MessageEvent(_sentence(size.k, train_health, validation_health)))
    result = QuantizeResult(out, size.k, train_health, validation_health, fitted.train_top1, fitted.validation_top1)
    if rank() > 0:
        return result
    inputs = {"features/train": train.digest, "features/validation": validation.digest}
    with writing(out, KIND, inputs, params=config.model_dump(mode="json")) as folder:
        codebook.to(torch.device("cpu")).save(folder)
        fitted.probe.save(folder)
        write_table(folder / "grounding.parquet", _grounding_table(train, codebook, grounding))
        pd.DataFrame(history).to_csv(folder / "history.csv", index=False, float_format="%.6f", lineterminator="\n")
        write_json(
            folder / "metrics.json",
            rounded(
                {
                    "k": size.k,
                    "grounding_cosine": float(grounding.cosines.mean()),
                    "train": train_health.numbers(),
                    "validation": validation_health.numbers(),
                    "probe": _probe_numbers(fitted, train.n, validation.n),
                    "quantised": quantised,
                }
            ),
        )
    return result


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
    return fit_probe(
        pooled_tokens(train, config.batch, device),
        own_part(train).labels.to(device),
        pooled_tokens(validation, config.batch, device),
        own_part(validation).labels.to(device),
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
    for tokens in token_batches(own_part(source), batch):
        assignment = codebook.assign(tokens[None].to(codebook.codes.device))
        usage.add(assignment.indices, assignment.similarities)
    return usage.over_ranks().health()


def _check_validation(train: FeatureStore, validation: FeatureStore) -> None:
    if validation.n == 0 or int(validation.labels.max()) > int(train.labels.max()):
        raise DataError("validation must hold images, all of classes that train has too; run prepare")
    if validation.d != train.d:
        raise DataError(f"validation tokens have {validation.d} dimensions, train tokens {train.d}; run extract")


def _learn(
    config: QuantizeConfig, train: FeatureStore, size: CodebookSize, probe: LinearProbe, *, seed: int, on_event: OnEvent
) -> tuple[Tensor, Codebook, list[dict[str, float | str]]]:
    """Seed the codes, then run the learner over all train tokens; return the learned codes of any length too."""
    device = probe.mean.device
    norm = fit_feature_norm(config.feature_norm, token_batches(own_part(train), config.batch), device)
    history: list[dict[str, float | str]] = []

    def note(phase: str, numbers: Mapping[str, float]) -> None:
        history.append({"epoch": len(history) + 1, "phase": phase, **numbers})
        on_event(EpochEvent(_LABEL, len(history), {name: numbers[name] for name in _TOLD if name in numbers}))

    if size.of_class is None:
        codes = from_first_rank(_seed(config, train, norm, size.k, device=device, seed=seed))
    else:
        of_classes = class_aware_codes(
            config, train, norm, probe, size.of_class, device=device, seed=seed, on_event=on_event
        )
        codes = of_classes.codes
        for health in of_classes.history:
            note("seeding", health.numbers() | {"revived": 0})
    for epoch in learn(config, _looked_at(config, train, seed), codes, norm, TaskHead(probe), seed=seed):
        codes = epoch.codes
        note("all", epoch.usage.health().numbers() | {"revived": epoch.revived} | dict(epoch.values))
    return codes, Codebook(_directions(codes), norm, size.class_of_code), history


def _looked_at(config: QuantizeConfig, train: FeatureStore, seed: int) -> TokenSource:
    """The tokens for the learner: all images and views, with all of their tokens or a sample."""
    source, count = all_views(train), config.tokens_per_image
    if count is None or count == source.t:
        return source
    if count > source.t:
        raise ConfigError(
            f"quantize.tokens_per_image must be <= {source.t}, the patch tokens of an image, got {count} (params.yaml)"
        )
    return Sampled.draw(source, count, torch_generator(seed, "quantize", "cells"))


def _seed(
    config: QuantizeConfig, train: FeatureStore, norm: FeatureNorm, k: int, *, device: torch.device, seed: int
) -> Float[Tensor, "k d"]:
    """Choose the initial codes from a bounded sample of all train tokens, or draw them independently of the data."""
    generator = torch_generator(seed, "quantize", "seeding")
    if config.seeding in get_args(Drawn):
        drawn = drawn_codes(cast("Drawn", config.seeding), k, train.d, generator).to(device)
        return _directions(drawn) if config.metric == "cosine" else drawn
    sample = sample_tokens(train, torch.arange(train.n), config.seeding_tokens, generator).to(device)
    vectors = norm.vectors(sample, config.metric)
    del sample  # it is as large as the vectors, or half as large
    vectors = with_direction(vectors, k)
    choose = {"random": random_patches, "kmeans++": kmeans_plus_plus, "farthest": farthest}[config.seeding]
    return choose(vectors, k, generator)


def _directions(codes: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """The codes scaled to norm 1."""
    norms: Tensor = torch.linalg.vector_norm(codes, dim=1, keepdim=True)
    if float(norms.min()) == 0.0:
        raise DataError("a code is zero and has no direction; choose another quantize.seeding, metric or seed")
    return codes / norms


def _measure_and_ground(train: FeatureStore, codebook: Codebook, batch: int) -> tuple[CodebookHealth, Grounding]:
    """Measure the codes and find their patches in one pass."""
    usage = UsageCounter(codebook.k)
    patches = NearestPatches(codebook.codes, first=own(train.n).start * train.t)
    for tokens in token_batches(own_part(train), batch):
        units = codebook.norm.units(tokens.to(codebook.codes.device))
        similarities = (units @ codebook.codes.T).clamp_(-1.0, 1.0)
        best, indices = similarities.max(dim=1)
        usage.add(indices, best)
        patches.add(units, similarities)
    return usage.over_ranks().health(), ground(train, codebook.codes, codebook.norm, patches.over_ranks(), batch)


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
) -> dict[str, float]:
    """Accuracy of the probe on quantised validation maps, with unit codes and with codes of the learned lengths."""
    norm, head = codebook.norm, TaskHead(fitted.probe)
    top1 = quantised_top1(validation, codebook.codes, norm, head, batch=config.batch)
    numbers = {"validation_top1": top1, "validation_gap": top1 - fitted.validation_top1}
    if config.learner != "gradient":
        return numbers
    own = quantised_top1(validation, learned, norm, head, batch=config.batch, metric=config.metric, scaled=False)
    return numbers | {"learned_validation_top1": own, "learned_validation_gap": own - fitted.validation_top1}


def _sentence(k: int, train: CodebookHealth, validation: CodebookHealth) -> str:
    return (
        f"{k} codes: quantisation error {train.quantization_error:.4f} on train, "
        f"{validation.quantization_error:.4f} on validation; perplexity {train.perplexity:.1f}, "
        f"dead share {train.dead_share:.4f}"
    )
