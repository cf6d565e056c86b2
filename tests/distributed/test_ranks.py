"""Shares and sums over processes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import UsageError
from protoquant.distributed import ranks as module
from protoquant.distributed.ranks import (
    alone,
    from_first_rank,
    gather_over_ranks,
    largest_over_ranks,
    mean_over_ranks,
    own,
    own_images,
    rank,
    sum_over_ranks,
    totals_over_ranks,
    world,
)
from tests.distributed.ranks import in_ranks


def test_alone_everything_is_the_value_itself():
    value = torch.tensor([1.0, 2.0])
    assert (rank(), world(), own(5)) == (0, 1, slice(0, 5))
    for found in (sum_over_ranks(value), largest_over_ranks(value), mean_over_ranks(value, 3), from_first_rank(value)):
        assert found is value
    assert gather_over_ranks("a") == ["a"]
    assert totals_over_ranks(1, 0.5) == [1, 0.5]


@given(st.integers(0, 200), st.integers(1, 40))
def test_shares_cover_everything_once_and_differ_by_at_most_one(count, processes):
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "world", lambda: processes)
        for number in range(processes):
            patch.setattr(module, "rank", lambda number=number: number)
            found.append(range(count)[own(count)])
    assert [place for share in found for place in share] == list(range(count))
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_fewer_images_than_processes_are_refused(monkeypatch):
    monkeypatch.setattr(module, "world", lambda: 4)
    with pytest.raises(UsageError, match="PROTOQUANT_PROCESSES must be at most the 3 images of a split, got 4"):
        own_images(3)


def exchanges():
    number = rank()
    value = torch.tensor([1.0, -2.0]) * (number + 1)
    found = {
        "world": world(),
        "sum": sum_over_ranks(value),
        "transposed": sum_over_ranks((torch.arange(6.0) * (number + 1)).reshape(2, 3).T),
        "largest": largest_over_ranks(value),
        "mean": mean_over_ranks(value, number + 1),
        "totals": totals_over_ranks(number, 0.5),
        "first": from_first_rank(value),
        "all": gather_over_ranks(["abc"[number]]),
    }
    with alone():
        found["alone"] = sum_over_ranks(value)
    return found


@pytest.mark.process
def test_three_processes_exchange_what_was_worked_out_by_hand():
    for number, found in enumerate(in_ranks(3, exchanges)):
        assert found["world"] == 3
        assert found["sum"].tolist() == [6.0, -12.0]
        assert torch.equal(found["transposed"], 6.0 * torch.arange(6.0).reshape(2, 3).T)
        assert found["largest"].tolist() == [3.0, -2.0]
        assert found["mean"].tolist() == pytest.approx([14 / 6, -28 / 6])
        assert found["totals"] == [3, 1.5]
        assert found["first"].tolist() == [1.0, -2.0]
        assert found["all"] == [["a"], ["b"], ["c"]]
        assert found["alone"].tolist() == [number + 1.0, -2.0 * (number + 1)]
