from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from protoquant.core.errors import DataError
from protoquant.head.class_weights import ClassWeights
from protoquant.head.prune_plan import GradientTuning, Patience
from protoquant.head.solvers.problem import Limits
from protoquant.prune.evidence import PruningEvidence
from protoquant.prune.finetune import Watch, descend, refit

LIMITS = Limits(1e-4, 5000)


def split(n: int, seed: int) -> PruningEvidence:
    labels = torch.arange(n) % 3
    noise = torch.rand(n, 6, generator=torch.Generator().manual_seed(seed))
    return PruningEvidence(0.5 * noise + 0.5 * functional.one_hot(labels, 6), labels)


TRAIN, HELD_OUT = split(60, 0), split(30, 1)
SUPPORT = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]], dtype=torch.bool)


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tune(config: GradientTuning, weights: torch.Tensor, seed: int = 0, penalty: float = 0.0, held_out=HELD_OUT):
    return descend(config, TRAIN, held_out, weights, SUPPORT, penalty=penalty, generator=draws(seed))


@pytest.mark.parametrize("start", [0.0, 1.0, 5.0])
def test_refit_forgets_where_it_starts_and_keeps_the_support(start) -> None:
    found = refit(TRAIN, start * SUPPORT, SUPPORT, 0.02, LIMITS)
    assert not bool((found.weights > 0)[~SUPPORT].any())
    torch.testing.assert_close(
        found.weights, refit(TRAIN, 0.3 * SUPPORT, SUPPORT, 0.02, LIMITS).weights, atol=2e-2, rtol=0
    )


def test_gradient_comes_to_the_same_optimum() -> None:
    config = GradientTuning(optimizer="adam", lr=0.1, epochs=300, batch=60)
    found, exact = tune(config, 1.0 * SUPPORT, penalty=0.2), refit(TRAIN, 1.0 * SUPPORT, SUPPORT, 0.2, LIMITS)
    torch.testing.assert_close(found.weights, exact.weights, atol=0.05, rtol=0)
    assert found.work == 300


@pytest.mark.parametrize("tuner", ["refit", "gradient"])
def test_a_class_of_weight_3_counts_as_its_images_three_times(tuner: str) -> None:
    often = TRAIN.rows(torch.arange(60).repeat_interleave(torch.tensor([3, 1, 1])[TRAIN.labels]))
    config = GradientTuning(optimizer="adam", lr=0.05, epochs=20, batch=200)

    def tuned(train: PruningEvidence) -> torch.Tensor:
        if tuner == "refit":
            return refit(train, 1.0 * SUPPORT, SUPPORT, 0.02, LIMITS).weights
        return descend(config, train, HELD_OUT, 1.0 * SUPPORT, SUPPORT, penalty=0.02, generator=draws(0)).weights

    found = tuned(replace(TRAIN, class_weights=ClassWeights(3, (3.0, 1.0, 1.0))))
    torch.testing.assert_close(found, tuned(often), atol=2e-2, rtol=0)
    assert float((found - tuned(TRAIN)).abs().max()) > 0.1


@pytest.mark.parametrize(("optimizer", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_every_bit_is_that_of_a_loop_in_torch(optimizer, kind) -> None:
    config = GradientTuning(optimizer=optimizer, lr=0.05, weight_decay=0.1, epochs=3, batch=25)
    found = descend(config, TRAIN, HELD_OUT, 1.0 * SUPPORT, SUPPORT, penalty=0.2, ridge=0.1, generator=draws(4))
    columns, generator = SUPPORT.any(dim=0).nonzero().flatten(), draws(4)
    scores = TRAIN.scores[:, columns]
    raw = (1.0 * SUPPORT)[:, columns].requires_grad_()
    decays = optimizer == "adamw"  # adam's decay goes through the ReLU
    oracle = kind([raw], lr=0.05, weight_decay=0.1 if decays else 0.0)
    for _ in range(3):
        for rows in torch.randperm(60, generator=generator).split(25):
            oracle.zero_grad()
            weights = raw.relu()
            loss = functional.cross_entropy(scores[rows] @ weights.T, TRAIN.labels[rows])
            paid = 0.2 * weights.sum() + 0.1 / 2 * weights.square().sum()
            decayed = 0.0 if decays else 0.1 / 2 * weights.square().sum()
            (loss + paid / 3 + decayed).backward()
            oracle.step()
    assert torch.equal(found.weights[:, columns], raw.detach().relu() * SUPPORT[:, columns])


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_weight_that_became_zero_stays_zero_under_weight_decay(optimizer) -> None:
    """The same start again and again, an epoch longer each time: a weight that is gone does not come back."""
    gone = torch.zeros_like(SUPPORT)
    start = torch.where(SUPPORT, 1.0, 0.0)
    start[0, 3] = 0.02  # little enough to be pushed over zero
    for epochs in range(1, 40):
        config = GradientTuning(optimizer=optimizer, lr=0.05, weight_decay=1.0, epochs=epochs, batch=10)
        weights = tune(config, start, penalty=0.05).weights
        assert not bool((weights > 0)[gone].any()), epochs
        gone |= SUPPORT & (weights == 0)
    assert bool(gone.any()), "else the test shows nothing"


def test_both_tuners_come_to_the_optimum_of_an_l2_penalty() -> None:
    found = refit(TRAIN, 1.0 * SUPPORT, SUPPORT, 0.0, LIMITS, ridge=0.5).weights
    weights = found.clone().requires_grad_()
    loss = functional.cross_entropy(TRAIN.scores @ weights.T, TRAIN.labels)
    (slope,) = torch.autograd.grad(loss + 0.5 / 2 / 3 * weights.square().sum(), weights)
    assert int((found > 0).sum()) == 3
    assert float(slope[found > 0].abs().max()) < 1e-4
    assert float(slope[SUPPORT].min()) > -1e-4
    assert not bool((found > 0)[~SUPPORT].any())
    config = GradientTuning(optimizer="adam", lr=0.1, epochs=300, batch=60)
    tuned = descend(
        config, TRAIN, HELD_OUT, 1.0 * SUPPORT, SUPPORT, penalty=0.0, ridge=0.5, generator=torch.Generator()
    )
    torch.testing.assert_close(tuned.weights, found, atol=0.05, rtol=0)


def test_gradient_never_brings_a_weight_back() -> None:
    start = 1.0 * SUPPORT
    start[0, 3] = 0
    found = tune(GradientTuning(epochs=3), start)
    assert not bool((found.weights > 0)[start == 0].any())
    assert bool((found.weights != start)[start > 0].all())


WRONG = PruningEvidence(HELD_OUT.scores, (HELD_OUT.labels + 1) % 3)
"""On these labels whatever is learned from train makes the loss larger."""


def test_the_best_epoch_is_kept_by_value() -> None:
    """Where every epoch is worse than the start, what comes back is the start and not the last epoch."""
    start = 1.0 * SUPPORT
    config = GradientTuning(lr=0.1, epochs=4, stop=Patience(patience=9))
    found = tune(config, start, held_out=WRONG)
    assert torch.equal(found.weights, start)
    assert found.work == 4
    assert not torch.equal(tune(config.model_copy(update={"stop": None}), start, held_out=WRONG).weights, start)


@pytest.mark.parametrize(("patience", "work"), [(0, 1), (1, 1), (2, 2), (9, 9), (10, 9)])
def test_epochs_without_gain_end_it(patience, work) -> None:
    config = GradientTuning(lr=0.1, epochs=9, stop=Patience(patience=patience))
    assert tune(config, 1.0 * SUPPORT, held_out=WRONG).work == work


def test_patience_0_goes_on_while_every_epoch_gains() -> None:
    found = tune(GradientTuning(lr=0.01, epochs=8, batch=60, stop=Patience(patience=0)), 0.5 * SUPPORT)
    assert found.work == 8


def test_watch_by_hand() -> None:
    watch = Watch(Patience(min_delta=0.1, patience=2), 1.0)
    said = [(watch.better(value), watch.over) for value in (0.95, 0.9, 0.85, 0.81, 0.85)]
    assert said == [(False, False), (True, False), (False, False), (False, True), (False, True)]
    assert not Watch(Patience(patience=0), 1.0).over


def test_same_seed_same_weights() -> None:
    config = GradientTuning(epochs=2, batch=7)
    assert torch.equal(tune(config, 1.0 * SUPPORT).weights, tune(config, 1.0 * SUPPORT).weights)
    assert not torch.equal(tune(config, 1.0 * SUPPORT).weights, tune(config, 1.0 * SUPPORT, seed=1).weights)


def test_a_weight_that_is_not_finite_is_said() -> None:
    broken = PruningEvidence(TRAIN.scores.clone().fill_(float("nan")), TRAIN.labels)
    with pytest.raises(DataError, match=r"NaN or infinite after epoch 1; lower gradient\.lr"):
        descend(GradientTuning(), broken, HELD_OUT, 1.0 * SUPPORT, SUPPORT, penalty=0.0, generator=torch.Generator())
