"""Revival of dead codes: each moves to a token that another code represents badly."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

_SAME = 1e-6


def revive(
    codes: Float[Tensor, "k d"], dead: Bool[Tensor, " k"], errors: Float[Tensor, " k"], worst: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, "k d"], int, Int64[Tensor, " r"]]:
    """Move dead codes to the worst represented tokens, each from a different code and different from the others.

    A dead code stays if no token is left for it: all are represented well or equal one already taken.

    Args:
        codes: Codes; they are not written to.
        dead: Whether no token is nearest to a code.
        errors: Largest error of a token with each code: 1 - cosine, or the squared distance.
        worst: The token with that error, in the space of the codes; zero tokens are never taken.

    Returns:
        The codes, the number r of revived ones, and their rows, ordered by falling error of the tokens taken.
    """
    waiting = torch.nonzero(dead).flatten()
    if len(waiting) == 0:
        return codes, 0, waiting
    codes, given = codes.clone(), 0
    energies = worst.square().sum(dim=1)
    worth = (errors > _SAME * energies) & (energies > 0)
    for donor in torch.argsort(errors, descending=True, stable=True).tolist():
        if given == len(waiting):
            break
        if not bool(worth[donor]) or _is_like(worst[donor], codes[waiting[:given]]):
            continue
        codes[waiting[given]] = worst[donor]
        given += 1
    return codes, given, waiting[:given]


def _is_like(token: Float[Tensor, " d"], taken: Float[Tensor, "r d"]) -> bool:
    """Whether one of the taken vectors equals the token up to rounding."""
    return bool(((taken - token).square().sum(dim=1) <= 2.0 * _SAME * token.square().sum()).any())
