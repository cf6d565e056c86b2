"""The greedy choice, on cases small enough to try every patch."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.rest_codes import Rest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import SubsetSource, TensorSource
from protoquant.head.grounding import patch_choice
from protoquant.head.grounding.patch_choice import Judge, Offers, choose_patches, halves
from protoquant.model.head import head_logits
from protoquant.model.presence import presence

T = 0.2


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def world(seed: int = 0, k: int = 4, m: int = 3) -> tuple[Codebook, Offers, Judge]:
    """Twenty images of four cells, three classes; code 3 is used by none."""
    units = drawn(k, m, 6, seed=seed)
    source = TensorSource(drawn(20, 4, 6, seed=seed + 1), torch.arange(20) % 3)
    head = torch.zeros(3, k)
    head[0, 0], head[1, 1], head[2, 2], head[0, 2] = 3.0, 2.0, 4.0, 1.0
    codebook = Codebook(units[:, 0].clone(), FeatureNorm("l2"))
    return codebook, Offers(torch.arange(k * m).reshape(k, m), units), Judge(source, head, T, 8)


def loss(codebook: Codebook, judge: Judge) -> float:
    scores = presence(judge.source.values, codebook, T).scores
    return float(cross_entropy(head_logits(scores, judge.head), judge.source.labels))


@pytest.mark.parametrize("seed", range(6))
def test_the_loss_never_rises_and_unused_codes_keep_their_patch(seed: int) -> None:
    codebook, offers, judge = world(seed)
    taken = choose_patches(codebook, offers, judge)
    chosen = replace(codebook, codes=offers.units[torch.arange(4), taken])
    assert loss(chosen, judge) <= loss(codebook, judge)
    assert int(taken[3]) == 0


def test_a_round_that_did_not_lower_the_loss_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    codebook, offers, judge = world(1)

    def of(slot: int) -> float:
        taken = torch.tensor([slot, 0, 0, 0])
        return loss(replace(codebook, codes=offers.units[torch.arange(4), taken]), judge)

    worst = max(range(3), key=of)
    assert of(worst) > of(0)
    monkeypatch.setattr(patch_choice, "_choose", lambda *given: given[-1].__setitem__(0, worst))
    assert choose_patches(codebook, offers, judge).tolist() == [0, 0, 0, 0]


def test_it_finds_the_patch_that_tells_the_class() -> None:
    """Class 0 shows the first axis, class 1 the second; code 0 is for class 0 and starts on the third."""
    axes = torch.eye(4)
    source = TensorSource(torch.stack([axes[[0, 3]], axes[[1, 3]]]), torch.tensor([0, 1]))
    offers = Offers(torch.tensor([[5, 6, 7], [8, 9, 10]]), torch.stack([axes[[2, 1, 0]], axes[[3, 3, 3]]]))
    judge = Judge(source, torch.tensor([[5.0, 0.0], [0.0, 0.0]]), 0.1, 1)
    taken = choose_patches(Codebook(axes[[2, 3]], FeatureNorm("l2")), offers, judge)
    assert taken.tolist() == [2, 0]


def test_two_codes_never_take_one_patch_nor_copies_of_it() -> None:
    axes = torch.eye(4)
    source = TensorSource(torch.stack([axes[[0, 3]], axes[[1, 3]]]), torch.tensor([0, 1]))
    units = torch.stack([axes[[2, 0]], axes[[3, 0]]])
    head = torch.tensor([[5.0, 5.0], [0.0, 0.0]])
    for patches in ([[5, 7], [8, 7]], [[5, 7], [8, 9]]):
        taken = choose_patches(
            Codebook(units[:, 0], FeatureNorm("l2")), Offers(torch.tensor(patches), units), Judge(source, head, 0.1, 1)
        )
        assert sorted(taken.tolist()) == [0, 1]


def test_neither_batch_nor_group_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    codebook, offers, judge = world(3)
    found = [choose_patches(codebook, offers, replace(judge, batch=batch)).tolist() for batch in (1, 7, 20)]
    assert found[0] == found[1] == found[2]
    monkeypatch.setattr(patch_choice, "_HELD", 1)
    chosen = replace(codebook, codes=offers.units[torch.arange(4), choose_patches(codebook, offers, judge)])
    assert loss(chosen, judge) <= loss(codebook, judge)


@pytest.mark.parametrize("seed", range(4))
def test_each_prototype_chooses_after_those_before_it(seed: int) -> None:
    """The same by a plain loop that puts each chosen presence into the scores before the next one looks."""
    codebook, offers, judge = world(seed)
    judge = replace(judge, head=2 * torch.rand(3, 4, generator=torch.Generator().manual_seed(seed)))
    every, taken, labels = torch.arange(4), torch.zeros(4, dtype=torch.int64), judge.source.labels
    scores, offered = patch_choice._presences(codebook, offers.units, every, judge)
    patch_choice._choose(codebook, offers, judge, every, taken)
    expected = []
    for code in range(4):
        losses = []
        for slot in range(3):
            tried = scores.clone()
            tried[:, code] = offered[:, code, slot]
            losses.append(float(cross_entropy(head_logits(tried, judge.head).double(), labels)))
        expected.append(min(range(3), key=losses.__getitem__))
        scores[:, code] = offered[:, code, expected[-1]]
    assert taken.tolist() == expected


def test_rest_codes_compete_with_codes_and_offers_alike() -> None:
    """Presences with rest codes are those of a codebook in which the rest codes are codes of their own."""
    codebook, offers, judge = world(2)
    rest = drawn(2, 6, seed=9)
    scores, offered = patch_choice._presences(
        replace(codebook, rest=Rest(rest, torch.zeros(2))), offers.units, torch.arange(4), judge
    )
    whole = replace(codebook, codes=torch.cat([codebook.codes, rest]))
    torch.testing.assert_close(scores, presence(judge.source.values, whole, T).scores[:, :4])
    for code in range(4):
        whole.codes[code] = offers.units[code, 1]
        torch.testing.assert_close(offered[:, code, 1], presence(judge.source.values, whole, T).scores[:, code])
        whole.codes[code] = codebook.codes[code]


def test_a_patch_that_one_code_gave_up_may_be_the_next_ones() -> None:
    """Code 0 speaks for class 1, which shows the second axis, and leaves the first to code 1; code 2 is background."""
    axes = torch.eye(4)
    source = TensorSource(torch.stack([axes[[0, 3]], axes[[1, 3]]]), torch.tensor([0, 1]))
    offers = Offers(torch.tensor([[5, 6], [7, 5], [8, 9]]), axes[torch.tensor([[0, 1], [2, 0], [3, 3]])])
    judge = Judge(source, torch.tensor([[0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]), 0.1, 1)
    taken = torch.zeros(3, dtype=torch.int64)
    patch_choice._choose(Codebook(axes[[0, 2, 3]], FeatureNorm("l2")), offers, judge, torch.arange(2), taken)
    assert taken.tolist() == [1, 1, 0]


def test_losses_of_a_change_equal_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, change = (torch.randn(7, size, generator=generator, dtype=torch.float64) for size in (5, 3))
    weights, labels = torch.tensor([0.0, 2.0, 0.0, 0.5, 0.0], dtype=torch.float64), torch.arange(7) % 5
    found = patch_choice._losses(logits, change, weights, labels)
    plain = torch.stack([cross_entropy(logits + change[:, [slot]] * weights, labels) for slot in range(3)])
    torch.testing.assert_close(found, plain - cross_entropy(logits, labels))


def test_halves_share_every_class() -> None:
    labels = torch.tensor([1, 0, 1, 1, 0, 2])
    assert [part.tolist() for part in halves(labels)] == [[0, 1, 3, 5], [2, 4]]


def test_a_part_is_a_source_of_its_own() -> None:
    whole = TensorSource(torch.arange(24.0).reshape(4, 3, 2), torch.arange(4))
    part = SubsetSource(whole, torch.tensor([3, 1]))
    assert (part.n, part.t, part.d, part.labels.tolist()) == (2, 3, 2, [3, 1])
    assert torch.equal(part.tokens(torch.tensor([1])), whole.values[[1]])
