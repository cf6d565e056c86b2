import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.usage import UsageCounter, gini_of, perplexity_of

COUNTS = st.lists(st.integers(0, 1_000), min_size=1, max_size=20).filter(any).map(torch.tensor)


def count(indices, k, similarities=None):
    counter = UsageCounter(k)
    indices = torch.tensor(list(indices))
    counter.add(indices, torch.ones(len(indices)) if similarities is None else torch.tensor(similarities))
    return counter


def test_numbers_worked_by_hand():
    health = count([0, 0, 2, 0], 4, [1.0, 0.5, 0.0, -0.5]).health()
    assert health.tokens == 4
    assert (health.usage, health.dead_share) == (0.5, 0.5)
    assert health.perplexity == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert health.normalised_perplexity == pytest.approx(health.perplexity / 4)
    assert health.gini == pytest.approx(2 * (3 * 1 + 4 * 3) / (4 * 4) - 5 / 4)
    assert (health.min_usage, health.median_usage, health.max_usage, health.top_share) == (0, 0, 3, 0.75)
    assert health.quantization_error == pytest.approx((0 + 0.5 + 1 + 1.5) / 4)
    assert health.relative_error == pytest.approx((0 + 0.75 + 1 + 0.75) / 4)


def test_equal_use_has_perplexity_k_and_one_code_has_perplexity_1():
    assert perplexity_of(torch.tensor([7] * 5)) == pytest.approx(5)
    assert gini_of(torch.tensor([7] * 5)) == pytest.approx(0)
    assert perplexity_of(torch.tensor([0, 9, 0])) == pytest.approx(1)
    assert gini_of(torch.tensor([0, 9, 0])) == pytest.approx(2 / 3)


def test_the_top_share_counts_a_tenth_of_the_codes_rounded_up():
    health = count([number // 2 for number in range(40)] + [3, 7, 7], 20).health()
    assert (health.min_usage, health.median_usage, health.max_usage) == (2, 2, 4)
    assert health.top_share == pytest.approx((4 + 3) / 43)


@pytest.mark.parametrize(("k", "top"), [(1, 1), (9, 1), (10, 1), (11, 2), (14, 2), (20, 2), (21, 3)])
def test_a_tenth_of_the_codes_is_never_rounded_down(k, top):
    assert count(range(k), k).health().top_share == pytest.approx(top / k)


@given(COUNTS)
def test_perplexity_lies_between_1_and_the_codes_in_use(counts):
    assert 1 - 1e-9 <= perplexity_of(counts) <= int((counts > 0).sum()) + 1e-9


@given(COUNTS, st.randoms(use_true_random=False))
def test_the_order_of_codes_does_not_matter(counts, random):
    order = list(range(len(counts)))
    random.shuffle(order)
    assert perplexity_of(counts[order]) == pytest.approx(perplexity_of(counts))
    assert gini_of(counts[order]) == pytest.approx(gini_of(counts))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 30))
def test_batches_add_up(indices, cut):
    whole, parts = count(indices, 5), UsageCounter(5)
    for part in (indices[:cut], indices[cut:]):
        parts.add(torch.tensor(part, dtype=torch.int64), torch.ones(len(part)))
    assert parts.health() == whole.health()


def test_joined_codebooks_stand_side_by_side():
    joined = UsageCounter.join([count([0, 1], 2, [0.5, 0.5]), count([1, 1], 3)])
    assert joined.counts.tolist() == [1, 1, 0, 2, 0]
    assert joined.health().quantization_error == pytest.approx(0.25)


def test_no_tokens_is_an_error():
    with pytest.raises(ValueError, match="no tokens"):
        UsageCounter(3).health()
