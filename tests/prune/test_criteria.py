import math

import pytest
import torch
from torch.nn import functional

from protoquant.core.errors import ShapeError
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import solve
from protoquant.prune import criteria
from protoquant.prune.evidence import PruningEvidence

HEAD = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
SEEN = PruningEvidence(
    torch.tensor([[0.5, 0.1, 0.2], [0.3, 0.1, 0.4], [0.0, 0.6, 0.6]]),
    torch.tensor([0, 0, 1]),
    torch.tensor([7, 1, 4]),
)


def importance(criterion: str, **keys) -> torch.Tensor:
    plan = PrunePlan(criterion=criterion, end=0.5, **keys)
    return criteria.prototype_importance(plan, SEEN, HEAD, torch.eye(3), torch.ones(3, dtype=torch.bool))


def entries(criterion: str) -> torch.Tensor:
    return criteria.entry_importance(PrunePlan(unit="entry", criterion=criterion, end=0.5), SEEN, HEAD)


def test_usage_by_hand() -> None:
    assert importance("usage").tolist() == [7, 1, 4]
    torch.testing.assert_close(importance("usage", usage="presence"), torch.tensor([0.8, 0.8, 1.2]) / 3)
    with pytest.raises(ShapeError, match="needs counts"):
        criteria.usage(PruningEvidence(SEEN.scores, SEEN.labels), "assignments")


@pytest.mark.parametrize(("norm", "expected"), [("one", [2, 3, 2]), ("two", [2, 3, 2**0.5]), ("max", [2, 3, 1])])
def test_magnitude_by_hand(norm, expected) -> None:
    torch.testing.assert_close(importance("magnitude", norm=norm), torch.tensor(expected).float())
    assert entries("magnitude") is HEAD


def test_contribution_by_hand() -> None:
    expected = torch.tensor([[2 * 0.4, 0.0, 0.3], [0.0, 3 * 0.6, 0.6]])
    torch.testing.assert_close(entries("contribution"), expected)
    torch.testing.assert_close(importance("contribution"), expected.sum(dim=0))


def test_contribution_of_a_class_without_images_is_nothing() -> None:
    seen = PruningEvidence(SEEN.scores, torch.zeros(3, dtype=torch.int64))
    assert criteria.entry_contribution(seen, HEAD)[1].tolist() == [0, 0, 0]


def test_taylor_is_what_autograd_says() -> None:
    head, scores = HEAD.clone().requires_grad_(), SEEN.scores.clone().requires_grad_()
    functional.cross_entropy(scores @ head.T, SEEN.labels).backward()
    torch.testing.assert_close(importance("taylor"), (scores.detach() * scores.grad).sum(dim=0).abs())
    torch.testing.assert_close(entries("taylor"), (HEAD * head.grad).abs())


def test_taylor_at_the_convex_optimum_ranks_as_magnitude() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    scores = torch.rand(60, 9, generator=generator, dtype=torch.float64)
    scores += functional.one_hot(labels, 9)
    found = solve(Problem(scores, labels, 3), 0.05, Limits(1e-6, 20_000), start=torch.zeros(3, 9).double())
    taylor = criteria.entry_taylor(PruningEvidence(scores, labels), found.weights)
    torch.testing.assert_close(taylor, found.weights * 0.05 / 3, rtol=1e-4, atol=1e-9)


def test_leave_one_out_by_hand() -> None:
    """One image, two classes: without a prototype its logits are the others' alone."""
    seen = PruningEvidence(torch.tensor([[0.5, 0.2]]), torch.tensor([0]))
    head = torch.tensor([[2.0, 0.0], [0.0, 1.0]])  # logits (1, 0.2)
    whole = math.log(1 + math.exp(-0.8))
    expected = torch.tensor([math.log(1 + math.exp(0.2)) - whole, math.log(1 + math.exp(-1.0)) - whole])
    found = criteria.leave_one_out(seen, head)
    torch.testing.assert_close(found, expected)
    assert found[1] < 0  # it speaks for the wrong class: the loss is better without


def test_leave_one_out_is_the_loss_of_the_masked_head() -> None:
    found = importance("leave_one_out")
    whole = functional.cross_entropy(SEEN.scores @ HEAD.T, SEEN.labels)
    for code in range(3):
        masked = HEAD.clone()
        masked[:, code] = 0
        torch.testing.assert_close(found[code], functional.cross_entropy(SEEN.scores @ masked.T, SEEN.labels) - whole)


def test_leave_one_out_of_a_weight_is_the_change_of_its_logit() -> None:
    masked = HEAD.clone()
    masked[1, 2] = 0
    change = (SEEN.scores @ (HEAD - masked).T).mean(dim=0)
    torch.testing.assert_close(entries("leave_one_out")[1, 2], change[1])


def unit(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def test_redundancy_takes_the_less_used_of_the_most_alike() -> None:
    codes = torch.tensor([unit(0), unit(10), unit(40), unit(45), unit(-60)])
    used = torch.tensor([5.0, 3.0, 1.0, 9.0, 2.0])
    everything = torch.ones(5, dtype=torch.bool)
    # 40 and 45 are nearest: 40 goes. Then 0 and 10: 10 goes. Then 0 and 45: 0 goes. Then 45 and -60: -60 goes.
    assert criteria.redundancy(codes, used, everything).tolist() == [2, 1, 0, 4, 3]
    without = torch.tensor([True, True, True, False, True])
    # 0 and 10 first; then 0 and 40 (40 degrees): 40 goes; then 0 and -60.
    assert criteria.redundancy(codes, used, without).tolist() == [3, 0, 1, math.inf, 2]


def test_redundancy_matches_a_plain_search() -> None:
    generator = torch.Generator().manual_seed(3)
    codes = functional.normalize(torch.randn(30, 4, generator=generator))
    used = torch.randint(0, 5, (30,), generator=generator).float()
    alive, expected = list(range(30)), []
    while len(alive) > 1:
        pairs = [(float(codes[a] @ codes[b]), a, b) for a in alive for b in alive if a < b]
        _, a, b = max(pairs)
        gone = min((a, b), key=lambda code: (float(used[code]), -code))
        expected.append(gone)
        alive.remove(gone)
    order = criteria.redundancy(codes, used, torch.ones(30, dtype=torch.bool)).argsort().tolist()
    assert order == [*expected, alive[0]]


def test_of_equals_the_first_stays() -> None:
    assert criteria.keep_best(torch.tensor([1.0, 2.0, 2.0, 2.0]), 2).tolist() == [1, 2]
