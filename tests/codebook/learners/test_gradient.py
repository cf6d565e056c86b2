import itertools

import pytest
import torch

from protoquant.codebook.learners import gradient as module
from protoquant.codebook.learners.config import GradientLearnerConfig
from protoquant.codebook.learners.gradient import gradient
from protoquant.codebook.learners.stage_one import BatchSums
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.task.targets import Mixing, smooth
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import TensorSource
from protoquant.core.errors import DataError
from protoquant.core.schedule import warmup_cosine
from tests.builders.bundles import plain_probe

NONE = FeatureNorm("none")
PLAIN = {
    "lr": 0.05,
    "lr_scale": "absolute",
    "floor": 0.0,
    "warmup_epochs": 0,
    "smoothing": 0.0,
    "mixup": 0.0,
    "revive_every": 0,
    "revive_until": None,
}


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def source(n=13, t=4, d=6, seed=0):
    """Images of three classes, each with a direction of its own."""
    labels = torch.arange(n) % 3
    tokens = torch.randn(n, t, d, generator=draws(seed)) + 2.0 * torch.eye(3, d)[labels][:, None]
    return TensorSource(tokens, labels)


def head(d=6):
    return TaskHead(plain_probe(2.0 * torch.eye(3, d)))


def starts(k=5, d=6):
    return torch.randn(k, d, generator=draws(7))


def fit(values=(), codes=None, tokens=None, *, epochs=3, batch=16, seed=0, metric="cosine", norm=NONE):
    tokens, codes = source() if tokens is None else tokens, starts() if codes is None else codes
    config = GradientLearnerConfig.parse(PLAIN | dict(values))
    return list(
        gradient(tokens, codes, norm, head(), config, metric=metric, epochs=epochs, batch=batch, generator=draws(seed))
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", ["task", "codebook"])
def test_each_loss_falls(name, metric):
    weights = {"weight_task": float(name == "task"), "weight_codebook": float(name == "codebook")}
    values = [epoch.values[f"loss_{name}"] for epoch in fit(weights, epochs=12, metric=metric)]
    assert values[-1] < 0.8 * values[0]


def test_balancing_wakes_codes_that_no_token_is_nearest_to():
    tokens = TensorSource(source().values.abs(), source().labels)
    codes = torch.cat([torch.ones(1, 6), -torch.ones(4, 6) + 0.3 * starts(4)])
    alone, balanced = (
        fit({"lr": 0.2, "weight_task": 0.0, "weight_codebook": 0.01, **more}, codes, tokens, epochs=15)[-1]
        for more in ({}, {"weight_balance": 1.0, "balance_temperature": 0.3})
    )
    assert alone.usage.health().perplexity == pytest.approx(1.0)
    assert balanced.usage.health().perplexity > 2.0
    assert alone.values["loss_balance"] == 0.0
    assert 0.0 < balanced.values["loss_balance"] < 0.5


def test_a_code_that_never_wins_never_moves():
    codes = torch.cat([starts(4), -100.0 * torch.ones(1, 6)])
    tokens = source()
    tokens = TensorSource(tokens.values.abs(), tokens.labels)
    end = fit(codes=codes, tokens=tokens, epochs=4)[-1]
    assert int(end.usage.counts[4]) == 0
    assert torch.equal(end.codes[4], codes[4])
    assert not bool((end.codes[:4] == codes[:4]).all())


def test_one_step_of_adam_moves_each_number_by_the_learning_rate():
    """Adam's first step is lr * gradient / (|gradient| + epsilon)."""
    end = fit({"lr": 0.01}, epochs=1, batch=1_000)[-1]
    moved = (end.codes - starts()).abs()
    assert float(moved.max()) == pytest.approx(0.01, rel=1e-3)
    assert end.values["lr"] == 0.01


def test_the_learning_rate_follows_the_schedule_step_by_step():
    """13 images in batches of 4 are 4 steps an epoch."""
    values = {"lr": 0.02, "floor": 0.001, "warmup_epochs": 2}
    rates = [epoch.values["lr"] for epoch in fit(values, epochs=5)]
    steps = [4 * epoch - 1 for epoch in range(1, 6)]
    assert rates == [warmup_cosine(step, total=20, warmup=8, peak=0.02, floor=0.001) for step in steps]
    assert rates[1] == 0.02


def test_tokens_and_labels_are_mixed_alike():
    """One batch of all 13 images: its losses are those of the mixture that the generator gives."""
    values, tokens = {"mixup": 0.8, "smoothing": 0.2}, source()
    found = fit(values, epochs=1, batch=1_000)[0].values
    generator = draws()
    order = torch.randperm(13, generator=generator)
    mixing = Mixing.draw(13, 0.8, generator)
    assert 0.01 < mixing.share < 0.99
    images, targets = tokens.values[order], smooth(tokens.labels[order], 3, 0.2)
    mixed, soft = (mixing.share * rows + (1 - mixing.share) * rows[mixing.others] for rows in (images, targets))
    nearest = torch.cosine_similarity(mixed[:, :, None], starts()[None, None], dim=3).argmax(dim=2)
    quantised = starts()[nearest]
    task = torch.nn.functional.cross_entropy(head().logits(quantised), soft)
    assert found["loss_task"] == pytest.approx(float(task), abs=1e-5)
    assert found["loss_codebook"] == pytest.approx(float((quantised - mixed).square().mean()), abs=1e-5)


def test_dead_codes_take_badly_represented_tokens_but_not_in_the_last_epochs():
    codes = torch.cat([starts(2), -100.0 * torch.ones(3, 6)])
    tokens = TensorSource(source().values.abs(), source().labels)
    epochs = fit({"revive_every": 2, "revive_until": 0.8, "lr": 1e-6}, codes, tokens, epochs=10)
    assert epochs[0].revived == 0
    assert epochs[1].revived == 2
    rows = tokens.values.flatten(0, 1)
    revived = [code for code in epochs[1].codes[2:] if bool((rows == code).all(dim=1).any())]
    assert len(revived) == 2
    assert [epoch.revived for epoch in epochs[8:]] == [0, 0]


def test_adam_forgets_a_revived_code(monkeypatch):
    """A code moved to where it wins nothing would drift on with the moments of its old place."""
    place = -100.0 * torch.ones(6)
    tokens = TensorSource(source().values.abs(), source().labels)
    winner = int(fit(tokens=tokens, epochs=1)[0].usage.counts.argmax())

    def move(codes, dead, errors, worst):
        codes = codes.clone()
        codes[winner] = place
        return codes, 1, torch.tensor([winner])

    monkeypatch.setattr(module, "revive", move)
    epochs = fit({"revive_every": 1, "revive_until": 0.5}, tokens=tokens, epochs=2)
    assert [epoch.revived for epoch in epochs] == [1, 0]
    assert torch.equal(epochs[1].codes[winner], place)


def test_the_scale_of_the_tokens_scales_codes_and_steps_alike():
    """Tokens ten times as long give codes ten times as long, where the task has no say."""
    values = {"lr_scale": "tokens", "weight_task": 0.0}
    tokens = source()
    long = TensorSource(10.0 * tokens.values, tokens.labels)
    one, ten = (fit(values, tokens=each, epochs=3)[-1] for each in (tokens, long))
    assert torch.allclose(10.0 * one.codes, ten.codes, rtol=1e-3, atol=1e-3)
    assert ten.values["lr"] == pytest.approx(10.0 * one.values["lr"], rel=1e-6)
    first = fit({"lr": 1e-9, **values}, tokens=tokens, epochs=1)[-1].codes
    assert torch.allclose(first.norm(dim=1), tokens.values.square().sum(dim=2).mean().sqrt().expand(5), rtol=1e-4)


@pytest.mark.parametrize("values", [{}, {"mixup": 0.8, "optimizer": "adamw", "weight_decay": 0.01}])
def test_the_seed_decides_every_bit_and_the_start_is_not_written_to(values):
    codes = starts()
    one, again, other = (fit(values, codes, seed=seed)[-1].codes for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(codes, starts())


def test_weight_decay_pulls_every_code():
    codes = torch.cat([starts(4), -100.0 * torch.ones(1, 6)])
    tokens = TensorSource(source().values.abs(), source().labels)
    end = fit({"optimizer": "adamw", "weight_decay": 0.1}, codes, tokens)[-1]
    assert float(end.codes[4].norm()) < float(codes[4].norm())


def test_epochs_give_their_own_codes():
    before, after = fit(epochs=2)
    assert not torch.equal(before.codes, after.codes)
    assert not before.codes.requires_grad


def test_the_cut_into_chunks_changes_rounding_alone(monkeypatch):
    whole = fit({"mixup": 0.8})[-1].codes
    monkeypatch.setattr(module, "_CHUNK", 5)
    assert torch.allclose(fit({"mixup": 0.8})[-1].codes, whole, atol=1e-4)


def test_a_loss_that_is_not_a_number_names_epoch_and_batch(monkeypatch):
    calls = itertools.count(1)
    losses = BatchSums.losses

    def spoiled(self, *given, **share):
        found = losses(self, *given, **share)
        return found if next(calls) < 6 else type(found)(*(part * torch.nan for part in vars(found).values()))

    monkeypatch.setattr(BatchSums, "losses", spoiled)
    with pytest.raises(DataError, match=r"loss became nan in epoch 2, batch 2; lower quantize.gradient.lr"):
        fit()
