"""Criteria that rank prototypes and weights by importance; the lowest is removed first.

All criteria use images of one split with their present scores. ``a`` (n, k) are the presence scores, ``W``
(c, k) is the head, and L is the mean cross-entropy over the images, each counted by its class weight.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from protoquant.core.errors import ShapeError
from protoquant.head.class_weights import mean_cross_entropy, weighed
from protoquant.head.prune_plan import PrunePlan
from protoquant.model.head import head_logits
from protoquant.prune.evidence import PruningEvidence

_NORMS = {"one": 1.0, "two": 2.0, "max": float("inf")}


def prototype_importance(
    plan: PrunePlan,
    evidence: PruningEvidence,
    head: Float[Tensor, "c k"],
    codes: Float[Tensor, "k d"],
    kept: Bool[Tensor, " k"],
) -> Float[Tensor, " k"]:
    """Rank the prototypes.

    Args:
        plan: Gives the criterion, the norm and the kind of usage.
        evidence: Scores of the images that the criterion uses.
        head: Weights, >= 0.
        codes: Unit codes; only for redundancy.
        kept: Whether each code is still there; only for redundancy.

    Returns:
        Importance of every code; the lowest is removed first.
    """
    if plan.criterion == "magnitude":
        return magnitude(head, plan.norm)
    used = usage(evidence, plan.usage)
    if plan.criterion == "redundancy":
        return redundancy(codes, used, kept)
    if plan.criterion == "usage":
        return used
    by_head: dict[str, Callable[[PruningEvidence, Tensor], Tensor]] = {
        "contribution": lambda seen, weights: entry_contribution(seen, weights).sum(dim=0),
        "taylor": taylor,
        "leave_one_out": leave_one_out,
    }
    return by_head[plan.criterion](evidence, head)


def entry_importance(plan: PrunePlan, evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """Rank single weights.

    Args:
        plan: Gives the criterion, which must not be one for prototypes only.
        evidence: Scores of the images that the criterion uses.
        head: Weights, >= 0.

    Returns:
        Importance of every weight; the lowest is removed first.
    """
    if plan.criterion == "magnitude":
        return head
    of_entries: dict[str, Callable[[PruningEvidence, Tensor], Tensor]] = {
        "contribution": entry_contribution,
        "taylor": entry_taylor,
        "leave_one_out": entry_leave_one_out,
    }
    return of_entries[plan.criterion](evidence, head)


def usage(evidence: PruningEvidence, what: str) -> Float[Tensor, " k"]:
    """How often each code is used.

    Args:
        evidence: Scores, with counts of assignments if these are requested.
        what: ``assignments``: number of patch tokens nearest to the code; ``presence``: mean of a over the images.

    Raises:
        ShapeError: Assignments were not counted.
    """
    if what == "presence":
        return evidence.scores.mean(dim=0)
    if evidence.counts is None:
        raise ShapeError("usage by assignments needs counts of the assignments; score the split with them")
    return evidence.counts.to(evidence.scores.dtype)


def magnitude(head: Float[Tensor, "c k"], norm: str) -> Float[Tensor, " k"]:
    """Norm of each column of the head: one (the sum), two or max."""
    found: Tensor = torch.linalg.vector_norm(head, ord=_NORMS[norm], dim=0)
    return found


def entry_contribution(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """Mean of ``a_p W_jp`` over the images of class j: the weight's contribution to its own class; 0 without images."""
    classes = len(head)
    own = functional.one_hot(evidence.labels, classes).to(evidence.scores)
    mean = own.T @ evidence.scores / own.sum(dim=0).clamp_min(1)[:, None]
    return mean * head


def taylor(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, " k"]:
    """``|sum over images of a_p dL/da_p|``: the change of the loss without the prototype, to first order."""
    return (head * _slope(evidence, head)).sum(dim=0).abs()


def entry_taylor(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """``|W dL/dW|``: the change of the loss without the weight, to first order.

    At the optimum under an L1 penalty dL/dW is the same for every weight > 0, so this ranks like magnitude there.
    """
    return (head * _slope(evidence, head)).abs()


def leave_one_out(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, " k"]:
    """Change of the loss when only this prototype is masked; below 0 if the loss is lower without it."""
    logits = head_logits(evidence.scores, head)
    whole = mean_cross_entropy(logits, evidence.labels, evidence.weights)
    found = torch.zeros(head.shape[1], dtype=head.dtype, device=head.device)
    for code in (head > 0).any(dim=0).nonzero().flatten().tolist():
        classes = head[:, code].nonzero().flatten()
        without = logits.clone()
        without[:, classes] -= evidence.scores[:, code, None] * head[classes, code]
        found[code] = mean_cross_entropy(without, evidence.labels, evidence.weights) - whole
    return found


def entry_leave_one_out(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """Mean of ``a_p W_jp`` over all images: exactly the mean drop of the logit of class j without the weight."""
    return evidence.scores.mean(dim=0) * head


def redundancy(codes: Float[Tensor, "k d"], used: Float[Tensor, " k"], kept: Bool[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The order of removal when the less used one of the two most similar codes is removed repeatedly.

    Args:
        codes: Unit vectors.
        used: Usage of each code.
        kept: Whether each code is still there.

    Returns:
        0 for the first code to remove, and so on up to the last one; infinity for codes that are already removed. On
        equal usage the higher code is removed.
    """
    places = kept.nonzero().flatten()
    alike = (codes[places] @ codes[places].T).fill_diagonal_(-torch.inf)
    order = torch.full((len(codes),), torch.inf, device=codes.device)
    closest, partner = alike.max(dim=1)
    for rank in range(len(places) - 1):
        first = int(closest.argmax())
        second = int(partner[first])
        weak, strong = sorted((first, second), key=lambda place: (float(used[places[place]]), -place))
        order[places[weak]] = rank
        alike[weak], alike[:, weak] = -torch.inf, -torch.inf
        closest[weak] = -torch.inf
        stale = ((partner == weak) & (closest > -torch.inf)).nonzero().flatten()
        closest[stale], partner[stale] = alike[stale].max(dim=1)
        if len(places) - rank == 2:
            order[places[strong]] = rank + 1
    return order


def keep_best(importance: Float[Tensor, " m"], count: int) -> Int64[Tensor, " s"]:
    """The positions of the most important units, ascending; the first one stays on ties."""
    return importance.argsort(descending=True, stable=True)[:count].sort().values


def _slope(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """The gradient dL/dW."""
    logits = head_logits(evidence.scores, head)
    error = torch.softmax(logits, dim=1)
    error[torch.arange(len(error), device=error.device), evidence.labels] -= 1
    return weighed(error, evidence.weights).T @ evidence.scores / len(error)
