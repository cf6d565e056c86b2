"""Class-aware seeding: k-means within each class, on the patches that distinguish the class from others."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.learners.kmeans import kmeans
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.seeding.agreement import agreeing, other_images
from protoquant.codebook.seeding.initialise import kmeans_plus_plus, with_direction
from protoquant.codebook.seeding.size import typical_cells
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.codebook.tokens import SubsetSource, TensorSource, TokenSource
from protoquant.codebook.usage import CodebookHealth, UsageCounter
from protoquant.core.errors import DataError
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
    on_object: Bool[Tensor, "n t"] | None = None,
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
        on_object: Whether each cell may be looked at; None: all may.

    Raises:
        DataError: A class has fewer patches to look at than codes, or a token holds NaN or infinity.
    """
    found: list[tuple[Tensor, list[UsageCounter]]] = []
    labels = range(len(of_class))[own(len(of_class))]
    with alone():
        for label in track(labels, "seeding", len(labels), "classes", on_event):
            generator = torch_generator(seed, "quantize", "seeding", label)
            images = seeding_images(config, torch.nonzero(source.labels == label).flatten(), source.t, generator)
            cells = None if on_object is None else on_object[images]
            typical = typical_vectors(config, source, images, label, norm=norm, probe=probe, on_object=cells)
            if on_object is not None and len(typical) < of_class[label]:
                raise DataError(_too_few(label, len(typical), of_class[label]))
            vectors = with_direction(typical, of_class[label])
            codes, passes = seed_class(config, vectors, of_class[label], generator)
            if config.keep is not None:
                own_part = SubsetSource(source, images)
                others = SubsetSource(source, other_images(source.labels, label))
                codes = codes[agreeing(codes.to(device), own_part, others, norm, keep=config.keep, batch=config.batch)]
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
    on_object: Bool[Tensor, "s t"] | None = None,
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
        on_object: Whether each cell of these images may be looked at, and counts for the share; None: all.

    Returns:
        Vectors of the space, ordered by image and cell.
    """
    allowed = torch.ones(len(images), source.t, dtype=torch.bool) if on_object is None else on_object
    batch, parts = max(1, config.batch // source.t), []
    for some, there in zip(torch.split(images, batch), torch.split(allowed, batch), strict=True):
        tokens = source.tokens(some).to(probe.mean.device)
        evidence = torch.log_softmax(probe.of_cells(tokens), dim=2)[:, :, label].cpu().masked_fill(~there, -torch.inf)
        order = torch.argsort(evidence, dim=1, descending=True, stable=True)
        counts = torch.tensor([typical_cells(config.seeding_share, cells) for cells in there.sum(dim=1).tolist()])
        chosen = torch.zeros_like(there).scatter(1, order, torch.arange(source.t) < counts[:, None])
        parts.append(norm.vectors(tokens, config.metric)[chosen.to(probe.mean.device)])
    return torch.cat(parts)


def _too_few(label: int, found: int, codes: int) -> str:
    return (
        f"quantize.size must be <= {found:,} for class {label}, whose train images have so many typical patches on the "
        f"object (quantize.seeding_on_object), got {codes:,} (params.yaml); lower quantize.size, raise "
        f"quantize.seeding_share or set quantize.seeding_on_object to false"
    )
