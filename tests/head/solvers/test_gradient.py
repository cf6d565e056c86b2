import math

import pytest
import torch

from protoquant.codebook.task.targets import mixup, smooth
from protoquant.core.errors import DataError
from protoquant.core.schedule import warmup_cosine
from protoquant.head.solvers.gradient import HeadEpoch, loss_and_gradient, train_epochs
from protoquant.head.solvers.gradient_config import GradientHeadConfig
from protoquant.head.solvers.problem import Limits, Problem
from protoquant.head.solvers.proximal import solve
from tests.builders.problems import weighed

CONFIG = GradientHeadConfig(epochs=4, warmup_epochs=1, batch=7, lr=0.05)
SCORES = torch.tensor([[1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
RAW = torch.tensor([[math.log(2.0), -1.0], [0.0, math.log(3.0)]], dtype=torch.float64)
LABELS = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)


def problem(dtype: torch.dtype = torch.float64, n: int = 30) -> Problem:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(n) % 3
    scores = 0.4 * torch.rand(n, 6, generator=generator, dtype=torch.float64)
    scores[torch.arange(n), 2 * labels] += 0.5
    return Problem(scores.to(dtype), labels, 3)


def run(config: GradientHeadConfig, penalty: float = 0.01, seed: int = 0, on: Problem | None = None) -> list[HeadEpoch]:
    return list(train_epochs(on or problem(), penalty, config, torch.Generator().manual_seed(seed)))


def test_plain_objective_and_gradient_by_hand() -> None:
    # relu(W) = [[ln 2, 0], [0, ln 3]]; logits: image 0 (ln 2, 0), image 1 (ln 2 / 2, ln 3).
    # p_0 = (2, 1) / 3; p_1 = (r, 3) / (r + 3) with r = sqrt(2).
    r = math.sqrt(2.0)
    value, gradient = loss_and_gradient(RAW, SCORES, LABELS, 0.4, CONFIG)
    cross_entropy = (math.log(3 / 2) + math.log((r + 3) / 3)) / 2
    assert value == pytest.approx(cross_entropy + 0.4 / 2 * (math.log(2) + math.log(3)), abs=1e-14)
    # dL/dW+_00 = mean of a_i0 (p_i0 - y_i0) + lambda; the weights at -1 and at 0 are dead.
    first = (1.0 * (2 / 3 - 1) + 0.5 * r / (r + 3)) / 2 + 0.2
    last = 1.0 * (3 / (r + 3) - 1) / 2 + 0.2
    torch.testing.assert_close(gradient, torch.tensor([[first, 0.0], [0.0, last]], dtype=torch.float64))


def test_log_objective_and_gradient_by_hand() -> None:
    # logits of image 1 are (ln 2 / 2, ln 3); those of image 0 are (ln 2, 0). With u = ln(z^2 + 1), exp(u) = z^2 + 1.
    a, b, half = math.log(2) ** 2 + 1, math.log(3) ** 2 + 1, (math.log(2) / 2) ** 2 + 1
    value, gradient = loss_and_gradient(RAW, SCORES, LABELS, 0.0, CONFIG.model_copy(update={"objective": "log"}))
    assert value == pytest.approx((math.log((a + 1) / a) + math.log((half + b) / b)) / 2, abs=1e-14)
    p00, p10, p11 = a / (a + 1), half / (half + b), b / (half + b)
    first = ((p00 - 1) * 2 * math.log(2) / a + 0.5 * p10 * math.log(2) / half) / 2
    last = (p11 - 1) * 2 * math.log(3) / b / 2
    torch.testing.assert_close(gradient, torch.tensor([[first, 0.0], [0.0, last]], dtype=torch.float64))


@pytest.mark.parametrize("objective", ["plain", "log"])
def test_a_class_of_weight_3_counts_as_its_images_three_times(objective: str) -> None:
    """In steps of all images, which start with the same weights, smoothed labels included."""
    once = problem()
    repeats = torch.tensor([1, 3, 1])[once.labels]
    often = Problem(once.scores.repeat_interleave(repeats, dim=0), once.labels.repeat_interleave(repeats), 3)
    config = CONFIG.model_copy(update={"batch": 100, "objective": objective, "smoothing": 0.1})
    found, expected, plain = (run(config, on=each)[-1] for each in (weighed(once, (1.0, 3.0, 1.0)), often, once))
    torch.testing.assert_close(found.weights, expected.weights)
    assert found.objective == pytest.approx(expected.objective)
    assert not torch.allclose(found.weights, plain.weights)


@pytest.mark.parametrize("objective", ["plain", "log"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_gradient_is_what_autograd_says(objective, optimizer) -> None:
    config = CONFIG.model_copy(update={"objective": objective, "optimizer": optimizer, "weight_decay": 0.1})
    given, raw = problem(), torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    targets = torch.softmax(torch.randn(30, 3, generator=torch.Generator().manual_seed(1)).double(), dim=1)
    value, found = loss_and_gradient(raw.detach(), given.scores, targets, 0.3, config)
    logits = given.scores @ raw.relu().T
    seen = logits if objective == "plain" else (logits**2 + 1).log()
    loss = torch.nn.functional.cross_entropy(seen, targets) + 0.3 / 3 * raw.relu().sum()
    assert value == pytest.approx(float(loss.detach()), abs=1e-13)
    decay = 0.05 * raw.relu().square().sum() if optimizer == "adam" else 0.0
    (loss + decay).backward()
    torch.testing.assert_close(found, raw.grad)


def test_first_step_of_adam_by_hand() -> None:
    # Adam's first step is lr * sign(gradient), but for its epsilon of 1e-8.
    config = GradientHeadConfig(epochs=1, warmup_epochs=0, batch=30, lr=0.05)
    (only,) = run(config)
    start = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1 + 1
    targets = torch.nn.functional.one_hot(problem().labels, 3).double()
    value, gradient = loss_and_gradient(start, problem().scores, targets, 0.01, config)
    torch.testing.assert_close(only.weights, start - 0.05 * gradient.sign(), atol=1e-6, rtol=0)
    assert only.objective == pytest.approx(value, abs=1e-12)
    assert only.steps == only.number == 1


@pytest.mark.parametrize(("optimizer", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_every_bit_is_that_of_a_loop_in_torch(optimizer, kind) -> None:
    """The decay of adam goes through the ReLU with the gradient; that of adamw is the optimizer's."""
    config = CONFIG.model_copy(update={"optimizer": optimizer, "weight_decay": 0.1, "smoothing": 0.2, "mixup": 0.7})
    given, generator = problem(), torch.Generator().manual_seed(0)
    raw = torch.randn(3, 6, generator=generator, dtype=torch.float64) * 0.1 + 1
    oracle = kind([raw], weight_decay=0.1 if optimizer == "adamw" else 0.0)
    step = 0
    for epoch in run(config):
        objective = 0.0
        for images in torch.randperm(30, generator=generator).split(7):
            targets = smooth(given.labels[images], 3, 0.2).double()
            mixed = mixup(given.scores[images], targets, 0.7, generator)
            value, raw.grad = loss_and_gradient(raw, mixed.values, mixed.targets, 0.01, config)
            oracle.param_groups[0]["lr"] = warmup_cosine(step, total=20, warmup=5, peak=0.05, floor=1e-6)
            oracle.step()
            objective += value * len(images) / 30
            step += 1
        assert (epoch.steps, epoch.objective) == (step, objective)
        assert torch.equal(epoch.weights, raw.relu())
    assert step == 20


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.05}, {"weight_decay": 0.5, "optimizer": "adamw"}])
def test_a_dead_weight_never_returns(changes) -> None:
    config = GradientHeadConfig(epochs=30, warmup_epochs=0, batch=10, lr=0.2, **changes)
    dead = torch.zeros(3, 6, dtype=torch.bool)
    for epoch in run(config, penalty=0.3):
        assert (epoch.weights[dead] == 0).all()
        dead |= epoch.weights == 0
    assert 0 < int(dead.sum()) < dead.numel()


def test_comes_near_the_convex_optimum() -> None:
    given, penalty = problem(), 0.05
    best = solve(given, penalty, Limits(1e-6, 20_000), start=given.zeros())
    last = run(GradientHeadConfig(epochs=300, warmup_epochs=5, batch=30, lr=0.05), penalty)[-1]
    reached = given.loss(given.logits(last.weights)) + penalty / 3 * float(last.weights.sum())
    assert best.objective - 1e-9 <= reached <= best.objective + 0.02


def test_smoothing_and_mixup_change_the_targets_alone() -> None:
    plain = run(CONFIG)[-1]
    assert run(CONFIG.model_copy(update={"smoothing": 0.3}))[-1].objective > plain.objective
    assert not torch.equal(run(CONFIG.model_copy(update={"mixup": 1.0}))[-1].weights, plain.weights)
    soft = problem()
    targets = 0.7 * torch.nn.functional.one_hot(soft.labels, 3).double() + 0.1
    given = Problem(soft.scores, soft.labels, 3, targets)
    torch.testing.assert_close(
        run(CONFIG, on=given)[-1].weights,
        run(CONFIG.model_copy(update={"smoothing": 0.3}))[-1].weights,
        atol=1e-5,
        rtol=1e-5,
    )


def test_one_seed_one_head() -> None:
    first, again, other = (run(CONFIG, seed=seed)[-1].weights for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_blocks_and_inference_mode_change_nothing() -> None:
    given = problem(torch.float32)
    expected = run(CONFIG, on=given)[-1].weights
    blocked = run(CONFIG, on=Problem(given.scores, given.labels, 3, block=4))[-1].weights
    assert torch.equal(expected, blocked)
    with torch.inference_mode():
        assert torch.equal(expected, run(CONFIG, on=given)[-1].weights)


def test_nan_stops_with_epoch_and_batch() -> None:
    config = GradientHeadConfig(epochs=2, warmup_epochs=0, batch=10, lr=0.05)
    given = problem()
    given.scores[29, 0] = float("nan")  # in place, behind the check
    with pytest.raises(DataError, match=r"loss is nan in epoch 1, batch [123], at penalty 0\.01; lower train"):
        run(config, on=given)
