"""Class-aware seeding: k-means within each class, on the patches that distinguish the class from others."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.learners.kmeans import kmeans
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.seeding.agreement import agreeing
from protoquant.codebook.seeding.initialise import kmeans_plus_plus, with_direction
from protoquant.codebook.seeding.size import typical_cells
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.codebook.tokens import SubsetSource, TensorSource, TokenSource
from protoquant.codebook.usage import CodebookHealth, UsageCounter
from protoquant.core.events import OnEvent, track
from protoquant.core.seeding import torch_generator
from protoquant.distributed.ranks import alone, gather_over_ranks, own


@dataclass(frozen=True)
class ClassCodes:
    """Codes of all classes, in the order of the labels.

    Attributes:
        codes: Codes that stay (k, d), unit vectors for the metric cosine.
        history: Health of each pass over the tokens used for seeding, over all classes and all seeded codes.
    """

    codes: Float[Tensor, "k d"]
    history: tuple[CodebookHealth, ...]


def class_aware_codes(
    config: QuantizeConfig,
    source: TokenSource,
    norm: FeatureNorm | LayerSpace,
    probe: LinearProbe,
    of_class: Sequence[int],
    *,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> ClassCodes:
    """Run k-means on the typical tokens of one class at a time, and concatenate the codes.

    In a distributed run every process handles some of the classes.

    Args:
        config: The params section.
        source: Train tokens.
        norm: Map from tokens to the space of the codes.
        probe: The linear probe, on the device; it decides which tokens are typical.
        of_class: Number of codes of each class (c).
        device: Device to compute on.
        seed: The seed of params.yaml.
        on_event: Receives progress for each finished class.
    """
    found: list[tuple[Tensor, list[UsageCounter]]] = []
    labels = range(len(of_class))[own(len(of_class))]
    with alone():
        for label in track(labels, "seeding", len(labels), "classes", on_event):
            generator = torch_generator(seed, "quantize", "seeding", label)
            images = seeding_images(config, torch.nonzero(source.labels == label).flatten(), source.t, generator)
            typical = typical_vectors(config, source, images, label, norm=norm, probe=probe)
            vectors = with_direction(typical, of_class[label])
            codes, passes = seed_class(config, vectors, of_class[label], generator)
            if config.keep is not None:
                own_images = SubsetSource(source, images)
                codes = codes[agreeing(codes.to(device), own_images, norm, keep=config.keep, batch=config.batch)]
            found.append((codes, passes))
    every = [one for some in gather_over_ranks(found) for one in some]
    longest = max(len(passes) for _, passes in every)
    history = [[passes[min(number, len(passes) - 1)] for _, passes in every] for number in range(longest)]
    codes = torch.cat([codes for codes, _ in every]).to(device)
    return ClassCodes(codes, tuple(UsageCounter.join(parts).health() for parts in history))


def seed_class(
    config: QuantizeConfig, vectors: Float[Tensor, "m d"], count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "k d"], list[UsageCounter]]:
    """Seed and move the codes of one class; return them on the CPU, with the usage of each pass."""
    codes, passes = kmeans_plus_plus(vectors, count, generator), []
    for epoch in kmeans(
        TensorSource.of_rows(vectors),
        codes,
        None,
        metric=config.metric,
        epochs=config.seeding_epochs,
        batch=config.batch,
        update="epoch",
        tolerance=config.tolerance,
        generator=generator,
    ):
        codes = epoch.codes
        passes.append(epoch.usage)
    return codes.cpu(), passes


def seeding_images(
    config: QuantizeConfig, images: Int64[Tensor, " m"], t: int, generator: torch.Generator
) -> Int64[Tensor, " s"]:
    """Draw the images of a class to use for seeding: all, or as many as seeding_tokens allows.

    Args:
        config: The params section.
        images: The class's train images.
        t: Patch tokens of an image.
        generator: Decides the draw.

    Returns:
        Images in their original order, at least one.
    """
    most = max(1, config.seeding_tokens // typical_cells(config.seeding_share, t))
    if len(images) <= most:
        return images
    return images[torch.randperm(len(images), generator=generator)[:most].sort().values]


def typical_vectors(
    config: QuantizeConfig,
    source: TokenSource,
    images: Int64[Tensor, " s"],
    label: int,
    *,
    norm: FeatureNorm | LayerSpace,
    probe: LinearProbe,
) -> Float[Tensor, "m d"]:
    """Take from every image the patches that the linear probe, applied to each, finds most typical of the class.

    The rest is mostly background that all classes share, and would give codes that identify no class.

    Args:
        config: The params section.
        source: Train tokens.
        images: Images of one class.
        label: Label of that class.
        norm: Map from tokens to the space of the codes.
        probe: The linear probe, on the device to compute on.

    Returns:
        Vectors of the space, ordered by image and cell.
    """
    cells, parts = typical_cells(config.seeding_share, source.t), []
    for some in torch.split(images, max(1, config.batch // source.t)):
        tokens = source.tokens(some).to(probe.mean.device)
        evidence = torch.log_softmax(probe.of_cells(tokens), dim=2)[:, :, label].cpu()
        chosen = torch.argsort(evidence, dim=1, descending=True, stable=True)[:, :cells].sort(dim=1).values
        parts.append(norm.vectors(tokens, config.metric)[torch.arange(len(some))[:, None], chosen].flatten(0, 1))
    return torch.cat(parts)
