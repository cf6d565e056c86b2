"""The load-balancing loss, which is differentiable and lowest if all codes are used equally."""

from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.competition import log_competition
from protoquant.distributed.ranks import sum_over_ranks, totals_over_ranks, world


def balance_loss(similarities: Float[Tensor, "b k"], temperature: float) -> Float[Tensor, ""]:
    """Measure how far the mean soft assignment of a batch is from uniform: ln k - H(mean of p).

    p = softmax(similarity / temperature) of each token. Each token may still prefer one code strongly; only the
    mean over tokens is pushed. A count of nearest codes would measure the same but has no gradient. In a distributed
    run the mean is over the tokens of all processes, and the gradient is this process's part of it.

    Args:
        similarities: Cosine (or another similarity) of each token with each code.
        temperature: Temperature of the softmax, > 0; a low one comes close to counting nearest codes.

    Returns:
        The loss in nats, in [0, ln k]: 0 if all codes are used equally, ln k if one code has every token.

    Source:
        The entropy of the mean assignment as in Assran et al. 2022 (masked siamese networks), eq. 2.
    """
    (tokens,) = totals_over_ranks(len(similarities))
    total = torch.logsumexp(log_competition(similarities, temperature), dim=0)
    if world() > 1:
        own = total.detach().double().exp()
        total = torch.logaddexp(total, (sum_over_ranks(own) - own).clamp_min(0.0).log().to(total))
    mean = total - log(tokens)
    return log(similarities.shape[1]) + (mean.exp() * mean).sum()
