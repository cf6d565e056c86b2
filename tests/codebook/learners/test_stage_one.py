import math

import pytest
import torch

from protoquant.codebook.learners.balance import balance_loss
from protoquant.codebook.learners.config import GradientLearnerConfig
from protoquant.codebook.learners.stage_one import BatchSums
from protoquant.codebook.matching import nearest
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.space.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.codebook.task.targets import smooth
from protoquant.codebook.task.task_head import TaskHead

NORMS = ["none", "l2", "layernorm", "center_l2", "whiten"]


def config(**values):
    given = {"smoothing": 0.0, "revive_every": 0, "revive_until": None, **values}
    return GradientLearnerConfig.parse(given | ({"balance_temperature": 0.2} if given.get("weight_balance") else {}))


def double(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def losses(tokens, codes, targets, head, given, *, norm=None, metric="cosine", parts=1):
    """The losses as the learner works them out, with the images cut into parts."""
    norm = FeatureNorm("none") if norm is None else norm
    sums = BatchSums(codes.detach(), norm, keep=given.weight_balance > 0)
    for some in tokens.chunk(parts):
        vectors = norm.apply(some)
        indices = nearest(vectors.flatten(0, 1), codes, metric)[0]
        sums.add(some, vectors, indices.reshape(some.shape[:2]))
    return sums.losses(codes, targets, head, given, metric)


def test_losses_and_gradients_worked_by_hand():
    """Two images of two cells, d = 2, three codes of which the last wins no token."""
    tokens = double([[4.0, 1.0], [1.0, 3.0]], [[2.0, 0.0], [3.0, -1.0]])
    codes = double([2.0, 0.0], [0.0, 0.5], [-1.0, -1.0]).requires_grad_()
    probe = LinearProbe(double([1.0, 0.0], [0.0, 2.0]), double(0.5, 0.0), double(1.0, 0.0), double(2.0, 1.0))
    found = losses(tokens, codes, smooth(torch.tensor([0, 1]), 2, 0.0), TaskHead(probe), config(weight_codebook=3.0))
    # (4, 1), (2, 0), (3, -1) lie nearest to code 0 by angle, (1, 3) to code 1
    squared = (4 - 2) ** 2 + 1**2 + (1 - 0) ** 2 + (3 - 0.5) ** 2 + 0 + (3 - 2) ** 2 + 1**2
    assert float(found.codebook.detach()) == pytest.approx(squared / (4 * 2), abs=1e-12)
    # mean codes (1, 0.25) and (2, 0); standardised (0, 0.25) and (0.5, 0); logits (0.5, 0.5) and (1, 0)
    one, two = 0.5, 1 / (1 + math.exp(-1.0))
    task = -(math.log(one) + math.log(1 - two)) / 2
    assert float(found.task.detach()) == pytest.approx(task, abs=1e-12)
    assert float(found.total.detach()) == pytest.approx(task + 3 * squared / 8, abs=1e-12)
    assert float(found.balance.detach()) == 0.0
    torch.autograd.backward(found.total)
    # dCE/dlogits / n, through weight / scale, / t: one token's dCE/dzq in each image
    first = double((one - 1) / 2 * 1 / 2 / 2, (1 - one) / 2 * 2 / 1 / 2)[0:2]
    second = double(two / 2 * 1 / 2 / 2, (1 - two - 1) / 2 * 2 / 1 / 2)
    pull = 3 * 2 / (4 * 2)
    expected = torch.stack(
        [
            first + 2 * second + pull * (double(2.0 - 4, 0.0 - 1) + double(0.0, 0.0) + double(2.0 - 3, 0.0 + 1)),
            first + pull * double(0.0 - 1, 0.5 - 3),
            double(0.0, 0.0),
        ]
    )
    assert torch.allclose(codes.grad, expected, atol=1e-12)


def test_the_tasks_gradient_reaches_the_codes():
    """With the straight-through form zq = z + stopgrad(zq - z) it would be zero."""
    tokens = double([[4.0, 1.0], [1.0, 3.0]], [[2.0, 0.0], [3.0, -1.0]])
    codes = double([2.0, 0.0], [0.0, 0.5]).requires_grad_()
    probe = LinearProbe(double([1.0, 0.0], [0.0, 2.0]), double(0.0, 0.0), double(0.0, 0.0), double(1.0, 1.0))
    found = losses(tokens, codes, smooth(torch.tensor([0, 1]), 2, 0.0), TaskHead(probe), config(weight_codebook=0.0))
    torch.autograd.backward(found.total)
    assert bool((codes.grad.abs().sum(dim=1) > 0.01).all())


def direct(tokens, codes, targets, head, given, *, norm, metric):
    """The formulas of METHOD, token by token, with autograd."""
    vectors = norm.apply(tokens)
    indices = nearest(vectors.flatten(0, 1), codes.detach(), metric)[0].reshape(tokens.shape[:2])
    quantised = codes[indices]
    task = torch.nn.functional.cross_entropy(head.logits(norm.undo(quantised, tokens)), targets)
    codebook = (quantised - vectors).square().mean()
    flat = vectors.flatten(0, 1)
    if metric == "cosine":
        similarities = torch.cosine_similarity(flat[:, None], codes[None], dim=2)
    else:
        similarities = -(flat[:, None] - codes[None]).square().sum(dim=2)
    balance = balance_loss(similarities, given.balance_temperature)
    total = given.weight_task * task + given.weight_codebook * codebook + given.weight_balance * balance
    return total, task, codebook, balance


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", NORMS)
def test_the_sums_lead_to_the_losses_and_gradients_of_every_token(name, metric):
    draws = torch.Generator().manual_seed(3)
    tokens = torch.randn(5, 4, 6, generator=draws, dtype=torch.float64) * 3 + 1
    tokens[1, 2] = 0.0
    norm = fit_feature_norm(name, [tokens.flatten(0, 1).float()], torch.device("cpu"))
    if norm.matrix is not None:
        norm = FeatureNorm("whiten", norm.mean.double(), norm.matrix.double(), torch.linalg.inv(norm.matrix.double()))
    weight, bias = (torch.randn(*shape, generator=draws, dtype=torch.float64) for shape in [(3, 6), (3,)])
    head = TaskHead(LinearProbe(weight, bias, weight[0], weight[1].abs() + 0.5))
    targets = torch.rand(5, 3, generator=draws, dtype=torch.float64)
    targets = targets / targets.sum(dim=1, keepdim=True)
    start = torch.randn(7, 6, generator=draws, dtype=torch.float64)
    given = config(weight_task=0.7, weight_codebook=1.3, weight_balance=0.4)
    codes, other = (start.clone().requires_grad_() for _ in range(2))
    found = losses(tokens, codes, targets, head, given, norm=norm, metric=metric, parts=2)
    total, *parts = direct(tokens, other, targets, head, given, norm=norm, metric=metric)
    assert [float(part.detach()) for part in (found.task, found.codebook, found.balance)] == pytest.approx(
        [float(part.detach()) for part in parts], abs=1e-9
    )
    torch.autograd.backward(found.total)
    torch.autograd.backward(total)
    assert torch.allclose(codes.grad, other.grad, atol=1e-9)
    assert float(codes.grad.abs().max()) > 0.01
