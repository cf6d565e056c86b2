import copy
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.mixture import mixed, with_mixtures
from protoquant.codebook.rest_codes import Rest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from protoquant.core.errors import DataError
from protoquant.head import joint
from protoquant.head.class_weights import ClassWeights
from protoquant.head.config import JointConfig
from protoquant.head.joint import joint_epochs
from protoquant.head.solvers.budget import largest_of_class
from protoquant.model.presence import look
from tests.builders.tokens import DIRECTIONS, clustered

PLAIN = JointConfig(steadiness=0.0, epochs=4, batch=8, lr_codes=0.02, lr_head=0.1, prototype_dropout=0.0)


@dataclass
class Source:
    """Tokens in memory; remembers which images were read."""

    values: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        self.read: list[list[int]] = []

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def t(self) -> int:
        return self.values.shape[1]

    @property
    def d(self) -> int:
        return self.values.shape[2]

    def tokens(self, indices: Tensor) -> Tensor:
        self.read.append(torch.as_tensor(indices).tolist())
        return self.values[indices]


def source(n: int = 24, seed: int = 0) -> Source:
    return Source(*clustered(n, seed))


def codebook() -> Codebook:
    return Codebook(DIRECTIONS, FeatureNorm("l2"))


def head() -> Tensor:
    """Each class on its two codes, weakly, and on one of another."""
    weights = torch.zeros(3, 8)
    for label in range(3):
        weights[label, [2 * label, 2 * label + 1, (2 * label + 2) % 6]] = 0.5
    return weights


def run(
    config: JointConfig = PLAIN,
    views=None,
    weights=None,
    *,
    seed: int = 0,
    codes: Codebook | None = None,
    size=None,
    class_weights: ClassWeights | None = None,
):
    return list(
        joint_epochs(
            views or [source()],
            codes or codebook(),
            head() if weights is None else weights,
            0.1,
            config=config,
            class_weights=class_weights,
            generator=torch.Generator().manual_seed(seed),
            size=size,
        )
    )


def test_a_class_of_weight_2_counts_as_its_images_twice() -> None:
    once = source()
    twice = torch.cat([torch.arange(24), (once.labels == 0).nonzero().flatten()])
    often = Source(once.values[twice], once.labels[twice])
    config = PLAIN.model_copy(update={"batch": 100})
    found = run(config, [once], class_weights=ClassWeights(3, (2.0, 1.0, 1.0)))
    expected, plain = run(config, [often]), run(config, [once])
    torch.testing.assert_close(found[-1].weights, expected[-1].weights)
    torch.testing.assert_close(found[-1].codebook.codes, expected[-1].codebook.codes)
    assert found[-1].loss == pytest.approx(expected[-1].loss)
    assert not torch.allclose(found[-1].weights, plain[-1].weights)


def test_a_weight_that_is_zero_stays_zero_and_none_is_negative() -> None:
    for epoch in run(PLAIN.model_copy(update={"lr_head": 0.5})):
        assert not bool((epoch.weights != 0)[head() == 0].any())
        assert bool((epoch.weights >= 0).all())


def test_a_weight_that_became_zero_never_comes_back() -> None:
    """Adam's memory moves on after the last gradient, but only further below zero."""
    gone = torch.zeros_like(head(), dtype=torch.bool)
    for epoch in run(
        JointConfig(steadiness=0.0, epochs=12, batch=4, lr_codes=0.02, lr_head=0.4, prototype_dropout=0.2)
    ):
        assert not bool((epoch.weights > 0)[gone].any())
        gone = epoch.weights == 0
    assert bool(gone[head() > 0].any())


def test_a_wide_head_is_cut_to_its_size_over_the_first_half_of_the_epochs() -> None:
    config = PLAIN.model_copy(update={"epochs": 8, "start_size": 3})
    found = run(config, size=1)
    assert [int((epoch.weights > 0).sum(dim=1).max()) for epoch in found] == [2, 2, 2, 1, 1, 1, 1, 1]
    assert [epoch.cut for epoch in found] == [False] * 3 + [True] * 5
    for before, after in pairwise(found):
        assert not bool((after.weights > 0)[before.weights == 0].any())
    uncut = run(config)
    assert all(epoch.cut for epoch in uncut)
    kept = found[0].weights > 0
    assert torch.equal(found[0].weights[kept], uncut[0].weights[kept])
    for own, every in zip(found[0].weights, uncut[0].weights, strict=True):
        assert float(own[own > 0].min()) >= float(every[own == 0].max())


def test_a_head_that_is_narrower_from_the_start_may_be_taken_from_the_same_epoch_on() -> None:
    """The head of a held-out fold chooses the epoch, and that of all images may have more weights above 0."""
    config, narrow = PLAIN.model_copy(update={"start_size": 3}), head() * largest_of_class(head(), 1)
    whole, of_fold = run(config, size=1), run(config, weights=narrow, size=1)
    assert [epoch.cut for epoch in of_fold] == [epoch.cut for epoch in whole]
    assert not of_fold[0].cut


def test_codes_stay_unit_vectors_and_move() -> None:
    for epoch in run():
        norms = torch.linalg.vector_norm(epoch.codebook.codes, dim=1)
        torch.testing.assert_close(norms, torch.ones(8), atol=1e-6, rtol=0)
        assert 0.5 < epoch.drift < 1.0
        moved = (epoch.codebook.codes * DIRECTIONS).sum(dim=1)
        assert epoch.drift == pytest.approx(float(moved.mean()), abs=1e-6)


def test_codes_that_no_class_uses_move_too_since_they_compete() -> None:
    moved = run()[-1].codebook.codes[6:]
    assert bool(((moved * DIRECTIONS[6:]).sum(dim=1) < 1 - 1e-4).all())


def test_the_loss_falls_on_a_problem_that_can_be_learned() -> None:
    config = JointConfig(steadiness=0.0, epochs=20, batch=8, lr_codes=0.02, lr_head=0.2, prototype_dropout=0.0)
    losses = [epoch.loss for epoch in run(config)]
    assert losses[-1] < 0.3 * losses[0]
    assert [epoch.number for epoch in run(config)] == list(range(1, 21))


def test_what_is_given_is_not_changed() -> None:
    codes, weights = codebook(), head()
    before = copy.deepcopy((codes.codes, weights))
    run(weights=weights, codes=codes)
    assert torch.equal(codes.codes, before[0])
    assert torch.equal(weights, before[1])


def test_the_epochs_are_values_not_views() -> None:
    """An epoch that was kept is what it was after later ones."""
    kept, states = [], []
    for epoch in joint_epochs(
        [source()],
        codebook(),
        head(),
        0.1,
        config=PLAIN,
        class_weights=None,
        generator=torch.Generator().manual_seed(0),
    ):
        kept.append(epoch)
        states.append((epoch.codebook.codes.clone(), epoch.weights.clone()))
    for epoch, (codes, weights) in zip(kept, states, strict=True):
        assert torch.equal(epoch.codebook.codes, codes)
        assert torch.equal(epoch.weights, weights)
    assert not torch.equal(kept[0].weights, kept[-1].weights)


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    config = PLAIN.model_copy(update={"prototype_dropout": 0.4})
    one, again, other = run(config), run(config), run(config, seed=1)
    for first, second in zip(one, again, strict=True):
        assert first.codebook.codes.numpy().tobytes() == second.codebook.codes.numpy().tobytes()
        assert first.weights.numpy().tobytes() == second.weights.numpy().tobytes()
        assert first.loss == second.loss
    assert not torch.equal(one[-1].weights, other[-1].weights)


def loss_by_hand(codes: np.ndarray, weights: np.ndarray, tokens: np.ndarray, labels: list[int], share: float) -> float:
    """The objective in numpy, double precision: cosine, softmax over codes, maximum over cells, head, cross-entropy."""
    units = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    total = 0.0
    for image, label in zip(tokens, labels, strict=True):
        directions_ = image / np.linalg.norm(image, axis=1, keepdims=True)
        powers = np.exp(directions_ @ units.T / 0.1)
        scores = (powers / powers.sum(axis=1, keepdims=True)).max(axis=0)
        logits = np.maximum(weights, 0) @ scores
        target = np.full(len(weights), share / len(weights))
        target[label] += 1 - share
        total -= float(target @ (logits - np.log(np.exp(logits).sum())))
    return total / len(tokens)


def slope(function, values: np.ndarray) -> np.ndarray:
    """Central differences."""
    found = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        ahead, back = values.copy(), values.copy()
        ahead[place] += 1e-6
        back[place] -= 1e-6
        found[place] = (function(ahead) - function(back)) / 2e-6
    return found


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_gradient_of_a_step_is_that_of_finite_differences(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """One whole batch of one epoch: what reaches the optimizer is the slope of the objective written by hand."""
    seen: list[Tensor] = []

    class Spy(torch.optim.Adam):
        def step(self, closure=None):
            seen.extend(group["params"][0].grad.clone() for group in self.param_groups)
            return super().step(closure)

    monkeypatch.setattr(joint.torch.optim, "Adam", Spy)
    some = source(6)
    some.values = some.values.float()
    config = JointConfig(
        steadiness=0.0, epochs=1, batch=6, lr_codes=1e-3, lr_head=1e-3, prototype_dropout=0.0, smoothing=share
    )
    (epoch,) = run(config, [some])
    tokens, labels = some.values.double().numpy(), some.labels.tolist()
    codes, weights = DIRECTIONS.double().numpy(), head().double().numpy()
    assert epoch.loss == pytest.approx(loss_by_hand(codes, weights, tokens, labels, share), abs=1e-6)
    of_codes = slope(lambda at: loss_by_hand(at, weights, tokens, labels, share), codes)
    assert np.abs(of_codes).max() > 1e-3
    np.testing.assert_allclose(seen[0].numpy(), of_codes, atol=2e-6)
    of_head = slope(lambda at: loss_by_hand(codes, at, tokens, labels, share), weights)
    np.testing.assert_allclose(seen[1].numpy() * (weights > 0), of_head * (weights > 0), atol=2e-6)
    assert bool((seen[1][head() == 0] == 0).all())


def test_both_rates_warm_up_in_a_tenth_of_the_steps_and_then_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten passes of three batches: three steps up, then half a cosine down towards a hundredth."""
    rates: list[tuple[float, float]] = []

    class Spy(torch.optim.Adam):
        def step(self, closure=None):
            rates.append(tuple(group["lr"] for group in self.param_groups))
            return super().step(closure)

    monkeypatch.setattr(joint.torch.optim, "Adam", Spy)
    run(PLAIN.model_copy(update={"epochs": 10}))
    shares = [1 / 3, 2 / 3, 1.0, *(0.01 + 0.99 * (1 + np.cos(np.pi * step / 27)) / 2 for step in range(27))]
    np.testing.assert_allclose(rates, [[0.02 * share, 0.1 * share] for share in shares], rtol=1e-12)


def test_dropout_keeps_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([joint._dropout((4, 5), 0.4, generator) for _ in range(4000)])
    # Each is 0 or 1 / 0.6; the standard error of the mean is 0.013.
    assert torch.allclose(draws.mean(dim=0), torch.ones(4, 5), atol=0.06)
    assert torch.allclose((draws == 0).float().mean(dim=0), torch.full((4, 5), 0.4), atol=0.04)
    assert torch.allclose(draws[draws != 0], torch.tensor(1 / 0.6))


def test_without_dropout_nothing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(joint._dropout((2, 3), 0.0, generator), torch.ones(2, 3))
    assert torch.equal(generator.get_state(), before)


def test_dropout_is_of_an_image_not_of_a_batch() -> None:
    dropped = joint._dropout((50, 20), 0.5, torch.Generator().manual_seed(0)) == 0
    assert len(torch.unique(dropped, dim=0)) > 40


def test_rest_codes_are_refused() -> None:
    rest = Rest(codebook().codes[:1], torch.zeros(1))
    with pytest.raises(ValueError, match="does not count rest codes"):
        run(codes=replace(codebook(), rest=rest))


def test_nan_stops_with_epoch_and_batch() -> None:
    weights = head()
    weights[0, 0] = torch.nan
    with pytest.raises(
        DataError, match=r"the joint loss is nan in epoch 1, batch 1; lower train\.joint\.lr_codes, 0\.02"
    ):
        run(weights=weights)


def test_nan_in_a_later_batch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    right = joint.smooth

    def broken(*arguments):
        calls.append(1)
        return right(*arguments) * (torch.nan if len(calls) == 5 else 1.0)

    monkeypatch.setattr(joint, "smooth", broken)
    with pytest.raises(DataError, match=r"is nan in epoch 2, batch 2;"):
        run()  # 24 images in batches of 8: three a pass


def test_views_are_taken_in_turn_and_every_image_is_seen_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "KEPT", 0)
    views = [source(seed=seed) for seed in range(3)]
    run(PLAIN.model_copy(update={"epochs": 7}), views)
    reads = [view.read[1:] for view in views]  # the first one asks how large an image is
    assert list(map(len, reads)) == [9, 6, 6]  # epochs 1, 4, 7; 2, 5; 3, 6; three batches each
    for read in reads:
        for start in range(0, len(read), 3):
            assert sorted(chain.from_iterable(read[start : start + 3])) == list(range(24))
    assert reads[0][:3] != reads[0][3:6]


def test_directions_that_are_kept_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = run(PLAIN.model_copy(update={"epochs": 3}), [source()])
    monkeypatch.setattr(joint, "KEPT", 0)
    for one, other in zip(kept, run(PLAIN.model_copy(update={"epochs": 3}), [source()]), strict=True):
        assert torch.equal(one.codebook.codes, other.codebook.codes)
        assert torch.equal(one.weights, other.weights)


def test_with_hardly_any_rate_nothing_drifts() -> None:
    (epoch,) = run(JointConfig(steadiness=0.0, epochs=1, batch=8, lr_codes=1e-12, lr_head=1e-12, prototype_dropout=0.0))
    assert epoch.drift == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(epoch.codebook.codes, DIRECTIONS, atol=1e-6, rtol=0)
    torch.testing.assert_close(epoch.weights, head(), atol=1e-6, rtol=0)


def test_the_last_batch_may_be_smaller_and_counts_by_its_images() -> None:
    """With no rate, the mean over a pass does not depend on how it is cut."""
    still = {"epochs": 1, "lr_codes": 1e-12, "lr_head": 1e-12, "prototype_dropout": 0.0}
    whole, cut = (run(JointConfig(steadiness=0.0, batch=batch, **still))[0].loss for batch in (24, 7))
    assert cut == pytest.approx(whole, abs=1e-6)


def mixtures(patches: int = 4) -> Codebook:
    tokens, labels = clustered(24, 0)
    whole = Codebook(DIRECTIONS, FeatureNorm("l2"), (0, 0, 1, 1, 2, 2, 0, 1))
    return with_mixtures(whole, TensorSource(tokens, labels), patches=patches, temperature=0.2, batch=8)


def test_mixtures_move_by_their_weights_alone() -> None:
    start = mixtures()
    config = PLAIN.model_copy(update={"lr_mixture": 0.5})
    for epoch in run(config, codes=start):
        moved = epoch.codebook.mixture
        assert torch.equal(moved.units, start.mixture.units)
        torch.testing.assert_close(mixed(moved.weights, moved.units), epoch.codebook.codes)
        torch.testing.assert_close(moved.weights.sum(dim=1), torch.ones(8))
    assert not torch.allclose(moved.weights, start.mixture.weights, atol=0.02)


def test_a_mixture_of_one_patch_stays_that_patch() -> None:
    start = mixtures(1)
    last = run(PLAIN.model_copy(update={"lr_mixture": 0.5}), codes=start, weights=head()[:, : start.k])[-1]
    torch.testing.assert_close(last.codebook.codes, start.codes)
    assert not torch.equal(last.weights, head()[:, : start.k])


def test_steadiness_sees_an_image_beside_the_next_of_its_views(monkeypatch) -> None:
    monkeypatch.setattr(joint, "KEPT", 0)  # nothing is kept, so that every read is seen
    views = [source(seed=0), source(seed=1), source(seed=2)]
    for each in views:
        each.labels = views[0].labels
    run(PLAIN.model_copy(update={"steadiness": 1.0, "epochs": 3}), views)
    size = [[len(images) for images in each.read] for each in views]
    assert [len([n for n in reads if n == 8]) for reads in size] == [9, 6, 3]  # plain always, the views in turn


def test_steadiness_makes_the_first_reason_the_same_in_a_view() -> None:
    """A view with noise: without the term the two codes of a class swap places more often."""
    plain = source(48)
    noise = torch.randn(plain.values.shape, generator=torch.Generator().manual_seed(7))
    view = Source(plain.values + 0.9 * noise, plain.labels)

    def first(config: JointConfig) -> float:
        last = run(config, [plain, view])[-1]
        scores = [look(each.values.float(), last.codebook, 0.1).pooled().scores for each in (plain, view)]
        tops = [(score * last.weights[plain.labels]).argmax(dim=1) for score in scores]
        return float((tops[0] == tops[1]).float().mean())

    config = JointConfig(steadiness=0.0, epochs=12, batch=8, lr_codes=0.02, lr_head=0.1, prototype_dropout=0.0)
    assert first(config.model_copy(update={"steadiness": 2.0})) > first(config)


def test_steadiness_without_views_is_refused() -> None:
    with pytest.raises(ValueError, match="steadiness compares images with views"):
        run(PLAIN.model_copy(update={"steadiness": 1.0}))
