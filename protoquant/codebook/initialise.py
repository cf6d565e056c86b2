"""Where codes start: random patches or k-means++ seeds."""

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.core.errors import DataError

_CANDIDATES = 32
_SAME = 1e-6


def with_direction(units: Float[Tensor, "s d"], k: int) -> Float[Tensor, "r d"]:
    """Leave out zero tokens, which cannot become codes.

    Raises:
        DataError: Fewer than k are left.
    """
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
