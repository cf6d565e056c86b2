"""Where codes start: random patches, k-means++ seeds, or the codes of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.kmeans import spherical_kmeans
from protoquant.codebook.size import Size
from protoquant.codebook.stream import TensorSource, TokenSource, sample_tokens
from protoquant.codebook.usage import CodebookHealth, UsageCounter
from protoquant.core.errors import DataError
from protoquant.core.events import OnEvent, track
from protoquant.core.seeding import torch_generator

_CANDIDATES = 32
_SAME = 1e-6


@dataclass(frozen=True)
class Seeds:
    """Where the codes start.

    Attributes:
        codes: Unit codes (k, d).
        history: For class-aware seeding the health of each pass, over all classes; else empty.
    """

    codes: Float[Tensor, "k d"]
    history: tuple[CodebookHealth, ...] = ()


def seed_codes(
    config: QuantizeConfig,
    source: TokenSource,
    norm: FeatureNorm,
    size: Size,
    *,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> Seeds:
    """Choose the first codes as the params say, from a bounded sample of train tokens.

    Args:
        config: The params section.
        source: Train tokens.
        norm: Map from tokens to unit vectors.
        size: Codes in all and of each class.
        device: Where to compute.
        seed: The seed of params.yaml.
        on_event: Told of each class that is done.
    """
    if size.of_class is not None:
        return _class_aware(config, source, norm, size.of_class, device=device, seed=seed, on_event=on_event)
    generator = torch_generator(seed, "quantize", "seeding")
    drawn = sample_tokens(source, torch.arange(source.n), config.seeding_tokens, generator)
    units = _with_direction(norm.apply(drawn.to(device)), size.k)
    choose = random_patches if config.seeding == "random" else kmeans_plus_plus
    return Seeds(choose(units, size.k, generator))


def _class_aware(
    config: QuantizeConfig,
    source: TokenSource,
    norm: FeatureNorm,
    of_class: Sequence[int],
    *,
    device: torch.device,
    seed: int,
    on_event: OnEvent,
) -> Seeds:
    """Run k-means on the tokens of one class at a time, and join the codes in the order of the labels."""
    codes: list[Tensor] = []
    usages: list[list[UsageCounter]] = []
    for label, count in enumerate(track(of_class, "seeding", len(of_class), "classes", on_event)):
        generator = torch_generator(seed, "quantize", "seeding", label)
        images = torch.nonzero(source.labels == label).flatten()
        drawn = sample_tokens(source, images, config.seeding_tokens, generator)
        units = _with_direction(norm.apply(drawn.to(device)), count)
        passes: list[UsageCounter] = []
        own = kmeans_plus_plus(units, count, generator)
        for epoch in spherical_kmeans(
            TensorSource.of_rows(units),
            own,
            FeatureNorm("l2"),
            epochs=config.seeding_epochs,
            batch=len(units),
            update="epoch",
            tolerance=config.tolerance,
            generator=generator,
        ):
            own = epoch.codes
            passes.append(epoch.usage)
        codes.append(own)
        usages.append(passes)
    longest = max(map(len, usages))
    history = [[passes[min(number, len(passes) - 1)] for passes in usages] for number in range(longest)]
    return Seeds(torch.cat(codes), tuple(UsageCounter.join(parts).health() for parts in history))


def _with_direction(units: Float[Tensor, "s d"], k: int) -> Float[Tensor, "r d"]:
    """Leave out zero tokens, which cannot become codes."""
    kept = units[units.any(dim=1)]
    if len(kept) < k:
        raise DataError(f"{k} codes need {k} tokens that are not zero, found {len(kept)}; lower quantize.size")
    return kept


def random_patches(units: Float[Tensor, "s d"], k: int, generator: torch.Generator) -> Float[Tensor, "k d"]:
    """Take k tokens at random, no two alike while there are others.

    Args:
        units: Unit tokens, at least k of them.
        k: Codes wanted.
        generator: Decides the draw.

    Returns:
        Unit codes.
    """
    order = torch.randperm(len(units), generator=generator)
    _, kind = torch.unique(units, dim=0, return_inverse=True)
    first = torch.full((int(kind.max()) + 1,), len(units)).scatter_reduce(
        0, kind.cpu()[order], torch.arange(len(units)), "amin"
    )
    unlike = first.sort().values
    again = torch.ones(len(units), dtype=torch.bool)
    again[unlike] = False
    return units[order[torch.cat([unlike, torch.nonzero(again).flatten()])[:k]].to(units.device)]


def kmeans_plus_plus(units: Float[Tensor, "s d"], k: int, generator: torch.Generator) -> Float[Tensor, "k d"]:
    """Take k tokens one after the other, each with a chance proportional to 1 - cosine with the nearest taken.

    For unit vectors 1 - cosine is half the squared distance, so this is k-means++ itself. Candidates are
    drawn in lots from the chances before the lot and kept with probability new chance / old chance, which
    gives the same distribution with far fewer passes over the tokens.

    Args:
        units: Unit tokens, at least k of them.
        k: Codes wanted.
        generator: Decides the draw.

    Returns:
        Unit codes; no token is taken twice while one unlike the taken is left.

    Source:
        Arthur and Vassilvitskii 2007, with rejection sampling.
    """
    start = int(torch.randint(len(units), (1,), generator=generator))
    taken = [start]
    distance = _distance(units, units[start : start + 1])[:, 0]
    while len(taken) < k:
        chances = distance.cpu().to(torch.float64)
        if float(chances.sum()) == 0.0:
            taken.extend(_left_over(len(units), taken, k - len(taken)))
            break
        lot = torch.multinomial(chances, _CANDIDATES, replacement=True, generator=generator)
        luck = torch.rand(_CANDIDATES, generator=generator, dtype=torch.float64)
        to_lot = _distance(units, units[lot.to(units.device)])
        for place, candidate in enumerate(lot.tolist()):
            if len(taken) < k and float(distance[candidate]) > float(luck[place] * chances[candidate]):
                taken.append(candidate)
                distance = torch.minimum(distance, to_lot[:, place])
    return units[torch.tensor(taken, device=units.device)]


def _distance(units: Float[Tensor, "s d"], codes: Float[Tensor, "m d"]) -> Float[Tensor, "s m"]:
    """1 - cosine, exactly 0 for the same direction whatever the rounding."""
    distance = 1.0 - units @ codes.T
    return distance.masked_fill_(distance < _SAME, 0.0)


def _left_over(total: int, taken: list[int], count: int) -> list[int]:
    """The first tokens that were not taken, where all are like a taken one."""
    known = set(taken)
    return [index for index in range(total) if index not in known][:count]
