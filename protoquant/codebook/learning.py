"""Learns the codes of a codebook: seeding, then passes of a learner over all tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import Drawn, QuantizeConfig
from protoquant.codebook.learners.learn import learn
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.seeding.class_aware import class_aware_codes
from protoquant.codebook.seeding.draw import drawn_codes
from protoquant.codebook.seeding.initialise import farthest, kmeans_plus_plus, random_patches, with_direction
from protoquant.codebook.seeding.size import CodebookSize
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.fit import fit_space
from protoquant.codebook.space.source import in_space
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import FlatSource, Sampled, TokenSource, sample_tokens
from protoquant.core.errors import ConfigError, DataError
from protoquant.core.events import EpochEvent, OnEvent
from protoquant.core.seeding import torch_generator
from protoquant.distributed.ranks import from_first_rank

# Numbers in an epoch's event; history.csv holds all of them.
_TOLD = ("loss", "quantization_error", "perplexity", "dead_share", "revived")


@dataclass(frozen=True)
class LearnedCodebook:
    """The codes as they were learned.

    Attributes:
        codes: Codes of the learned lengths (k, d).
        codebook: The same as unit vectors, with their feature space.
        history: One row for each pass: epoch, phase and the numbers of the codes.
    """

    codes: Float[Tensor, "k d"]
    codebook: Codebook
    history: list[dict[str, float | str]]


def learn_codebook(
    config: QuantizeConfig,
    train: TokenSource,
    size: CodebookSize,
    probe: LinearProbe,
    *,
    seen: TokenSource,
    seed: int,
    on_event: OnEvent,
    on_object: Bool[Tensor, "n t"] | None = None,
) -> LearnedCodebook:
    """Seed the codes, then run the learner over all tokens; only images of ``train`` and ``seen`` have a say.

    Args:
        config: The params section.
        train: Tokens of the plain train images, for the feature space and the seeding.
        size: The number of codes, resolved for these images.
        probe: The linear probe of these images, on the device to compute on.
        seen: The tokens that the learner's passes see: the same images, and their augmented views.
        seed: The seed of params.yaml.
        on_event: Receives an event for each pass.
        on_object: Whether class-aware seeding may look at each cell of ``train``; None: at all.

    Raises:
        ConfigError: tokens_per_image is above the patch tokens of an image.
        DataError: A token holds NaN or infinity, or a code is zero.
    """
    device = probe.mean.device
    space = fit_space(config, train, device)
    vectors, norm = in_space(train, space)
    history: list[dict[str, float | str]] = []

    def note(phase: str, numbers: Mapping[str, float]) -> None:
        history.append({"epoch": len(history) + 1, "phase": phase, **numbers})
        on_event(EpochEvent("quantize", len(history), {name: numbers[name] for name in _TOLD if name in numbers}))

    if size.of_class is None:
        codes = from_first_rank(_seed(config, vectors, norm, size.k, device=device, seed=seed))
    else:
        of_classes = class_aware_codes(
            config,
            train,
            space,
            probe,
            size.of_class,
            device=device,
            seed=seed,
            on_event=on_event,
            on_object=on_object,
        )
        codes = of_classes.codes
        for health in of_classes.history:
            note("seeding", health.numbers() | {"revived": 0})
    passes = _looked_at(config, in_space(seen, space)[0], seed)
    for epoch in learn(config, passes, codes, norm, TaskHead(probe), seed=seed):
        codes = epoch.codes
        note("all", epoch.usage.health().numbers() | {"revived": epoch.revived} | dict(epoch.values))
    return LearnedCodebook(codes, Codebook(_directions(codes), space, size.class_of_code), history)


def _looked_at(config: QuantizeConfig, source: FlatSource, seed: int) -> FlatSource:
    """The tokens for the learner: all those of each image, or a sample."""
    count = config.tokens_per_image
    if count is None or count == source.t:
        return source
    if count > source.t:
        raise ConfigError(
            f"quantize.tokens_per_image must be <= {source.t}, the patch tokens of an image, got {count} (params.yaml)"
        )
    return Sampled.draw(source, count, torch_generator(seed, "quantize", "cells"))


def _seed(
    config: QuantizeConfig, train: FlatSource, norm: FeatureNorm, k: int, *, device: torch.device, seed: int
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
