"""What ranks prototypes and weights: the lowest importance goes first.

All criteria look at images of one split, scored as the head sees them now. ``a`` (n, k) are presence scores, ``W``
(c, k) is the head, L the mean cross-entropy over the images.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from protoquant.core.errors import ShapeError
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
        plan: Criterion, norm and what counts as usage.
        evidence: Scores of the images that the criterion looks at.
        head: Weights, >= 0.
        codes: Unit codes; for redundancy alone.
        kept: Codes that are still there; for redundancy alone.

    Returns:
        Importance of every code; the lowest goes first.
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
        plan: Its criterion; not one of those for prototypes alone.
        evidence: Scores of the images that the criterion looks at.
        head: Weights, >= 0.

    Returns:
        Importance of every weight; the lowest goes first.
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
    """How often a code is met.

    Args:
        evidence: With assignments, where they are asked for.
        what: assignments: patch tokens whose nearest code it is; presence: mean of a over the images.

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
    """Mean of ``a_p W_jp`` over the images of class j: what the weight gives its own class; 0 without images."""
    classes = len(head)
    own = functional.one_hot(evidence.labels, classes).to(evidence.scores)
    mean = own.T @ evidence.scores / own.sum(dim=0).clamp_min(1)[:, None]
    return mean * head


def taylor(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, " k"]:
    """``|sum over images of a_p dL/da_p|``: to first order, the change of the loss without the prototype."""
    return (head * _slope(evidence, head)).sum(dim=0).abs()


def entry_taylor(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """``|W dL/dW|``: to first order, the change of the loss without the weight.

    At the optimum of an L1 penalty dL/dW is the same for every weight > 0, so that there this ranks as magnitude does.
    """
    return (head * _slope(evidence, head)).abs()


def leave_one_out(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, " k"]:
    """Change of the loss when the prototype is masked, all else equal; below 0 where the loss is better without."""
    logits = head_logits(evidence.scores, head)
    whole = functional.cross_entropy(logits, evidence.labels)
    found = torch.zeros(head.shape[1], dtype=head.dtype, device=head.device)
    for code in (head > 0).any(dim=0).nonzero().flatten().tolist():
        classes = head[:, code].nonzero().flatten()
        without = logits.clone()
        without[:, classes] -= evidence.scores[:, code, None] * head[classes, code]
        found[code] = functional.cross_entropy(without, evidence.labels) - whole
    return found


def entry_leave_one_out(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """Mean over all images of ``a_p W_jp``: exactly the change of the logit of class j without the weight."""
    return evidence.scores.mean(dim=0) * head


def redundancy(codes: Float[Tensor, "k d"], used: Float[Tensor, " k"], kept: Bool[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Order in which codes go when, again and again, the less used of the two most alike is taken out.

    Args:
        codes: Unit vectors.
        used: Usage of each code.
        kept: Codes that are still there.

    Returns:
        0 for the first to go, and so on up to the last that stays; infinity for codes that are gone. Of equal
        usage the higher code goes.
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
    """The positions of the most important, in order; of equals the first stays."""
    return importance.argsort(descending=True, stable=True)[:count].sort().values


def _slope(evidence: PruningEvidence, head: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """dL/dW."""
    logits = head_logits(evidence.scores, head)
    error = torch.softmax(logits, dim=1)
    error[torch.arange(len(error), device=error.device), evidence.labels] -= 1
    return error.T @ evidence.scores / len(error)
