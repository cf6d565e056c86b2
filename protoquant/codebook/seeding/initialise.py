"""Initial codes taken from the data: random patches, k-means++ seeds, or patches far from each other."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.matching import products
from protoquant.core.errors import DataError

_LOT = 32
_SAME = 1e-6


def with_direction(vectors: Float[Tensor, "s d"], k: int) -> Float[Tensor, "r d"]:
    """Leave out zero tokens, which cannot become codes.

    Raises:
        DataError: Fewer than k tokens are left.
    """
    there = vectors.any(dim=1)
    kept = vectors if bool(there.all()) else vectors[there]
    if len(kept) < k:
        raise DataError(f"{k} codes need {k} tokens that are not zero, found {len(kept)}; lower quantize.size")
    return kept


def random_patches(vectors: Float[Tensor, "s d"], k: int, generator: torch.Generator) -> Float[Tensor, "k d"]:
    """Take k tokens at random; duplicates are taken only when no other tokens are left.

    Args:
        vectors: Tokens in the space of the codes, at least k of them.
        k: Number of codes.
        generator: Decides the draw.

    Returns:
        Codes.
    """
    order = torch.randperm(len(vectors), generator=generator)
    _, kind = torch.unique(vectors, dim=0, return_inverse=True)
    first = torch.full((int(kind.max()) + 1,), len(vectors)).scatter_reduce(
        0, kind.cpu()[order], torch.arange(len(vectors)), "amin"
    )
    unlike = first.sort().values
    again = torch.ones(len(vectors), dtype=torch.bool)
    again[unlike] = False
    return vectors[order[torch.cat([unlike, torch.nonzero(again).flatten()])[:k]].to(vectors.device)]


def kmeans_plus_plus(vectors: Float[Tensor, "s d"], k: int, generator: torch.Generator) -> Float[Tensor, "k d"]:
    """Take k tokens one by one, each with probability proportional to its squared distance from those taken.

    For unit vectors that distance is twice 1 - cosine, so it suits both metrics. Candidates are drawn in lots by the
    probabilities before the lot, and kept with probability new / old, which gives the same distribution with far
    fewer passes over the tokens.

    Args:
        vectors: Tokens in the space of the codes, at least k of them.
        k: Number of codes.
        generator: Decides the draw.

    Returns:
        Codes; no duplicate is taken while another token is left.

    Source:
        Arthur and Vassilvitskii 2007, with rejection sampling.
    """
    energies = _energies(vectors)
    taken = [int(torch.randint(len(vectors), (1,), generator=generator))]
    distance = _distance(vectors, energies, torch.tensor(taken, device=vectors.device))[:, 0]
    while len(taken) < k:
        chances = distance.cpu().to(torch.float64)
        if float(chances.sum()) == 0.0:
            taken.extend(_left_over(len(vectors), taken, k - len(taken)))
            break
        lot = torch.multinomial(chances, _LOT, replacement=True, generator=generator)
        luck = torch.rand(_LOT, generator=generator, dtype=torch.float64)
        to_lot = _distance(vectors, energies, lot.to(vectors.device))
        for place, candidate in enumerate(lot.tolist()):
            if len(taken) < k and float(distance[candidate]) > float(luck[place] * chances[candidate]):
                taken.append(candidate)
                distance = torch.minimum(distance, to_lot[:, place])
    return vectors[torch.tensor(taken, device=vectors.device)]


def farthest(vectors: Float[Tensor, "s d"], k: int, generator: torch.Generator) -> Float[Tensor, "k d"]:
    """Take k tokens one by one, each the farthest from those taken; the first is drawn at random.

    This covers the tokens evenly and takes outliers first. Distances are computed for a lot of the farthest tokens
    at once; a token outside the lot that becomes the farthest starts the next lot, so the choice is still greedy.

    Args:
        vectors: Tokens in the space of the codes, at least k of them.
        k: Number of codes.
        generator: Decides the first token.

    Returns:
        Codes; no duplicate is taken while another token is left. Ties go to the first token.

    Source:
        Gonzalez 1985.
    """
    energies = _energies(vectors)
    taken = [int(torch.randint(len(vectors), (1,), generator=generator))]
    distance = _distance(vectors, energies, torch.tensor(taken, device=vectors.device))[:, 0]
    while len(taken) < k:
        best = int(distance.argmax())
        if float(distance[best]) == 0.0:
            taken.extend(_left_over(len(vectors), taken, k - len(taken)))
            break
        lot = [best, *distance.topk(min(_LOT, len(vectors))).indices.tolist()]
        to_lot = _distance(vectors, energies, torch.tensor(lot, device=vectors.device))
        while len(taken) < k and best in lot and float(distance[best]) > 0.0:
            taken.append(best)
            distance = torch.minimum(distance, to_lot[:, lot.index(best)])
            best = int(distance.argmax())
    return vectors[torch.tensor(taken, device=vectors.device)]


def _energies(vectors: Float[Tensor, "s d"]) -> Float[Tensor, " s"]:
    """Half the squared norms."""
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return 0.5 * norms.square()


def _distance(
    vectors: Float[Tensor, "s d"], energies: Float[Tensor, " s"], chosen: Int64[Tensor, " m"]
) -> Float[Tensor, "s m"]:
    """Half the squared distance from the chosen tokens, exactly 0 for equal vectors in spite of rounding."""
    both = energies[:, None] + energies[chosen]
    distance = both - products(vectors, vectors[chosen])
    return distance.masked_fill_(distance < _SAME * both, 0.0)


def _left_over(total: int, taken: list[int], count: int) -> list[int]:
    """The first tokens that were not taken, for use when all of them duplicate a taken one."""
    known = set(taken)
    return [index for index in range(total) if index not in known][:count]
