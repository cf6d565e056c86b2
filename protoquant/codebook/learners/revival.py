"""Dead codes: each takes the place of a token that another code represents badly."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

_SAME = 1e-6


def revive(
    codes: Float[Tensor, "k d"], dead: Bool[Tensor, " k"], errors: Float[Tensor, " k"], worst: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, "k d"], int, Int64[Tensor, " r"]]:
    """Give dead codes the worst represented tokens, each a token of another code and unlike the others.

    A dead code stays where no token is left for it: all are represented well, or are like one already taken.

    Args:
        codes: Codes; they are not written to.
        dead: Which of them no token is nearest to.
        errors: Largest error of a token with each code: 1 - cosine, or the squared distance.
        worst: That token, in the space of the codes; zero tokens are never taken.

    Returns:
        The codes, how many were revived, and their rows in the order of the errors taken, r in all.
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
    """Whether one of the taken is the token but for rounding."""
    return bool(((taken - token).square().sum(dim=1) <= 2.0 * _SAME * token.square().sum()).any())
