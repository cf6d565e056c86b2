import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.joined_source import JoinedSource, all_views
from protoquant.codebook.tokens import SubsetSource, TensorSource, token_batches
from protoquant.core.errors import ShapeError
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import write_store


def part(n: int, start: int, t: int = 2) -> TensorSource:
    """Images whose tokens all hold the number of the image."""
    numbers = torch.arange(start, start + n, dtype=torch.float32)
    return TensorSource(numbers[:, None, None].expand(n, t, 3).clone(), torch.arange(n) % 2)


JOINED = JoinedSource((part(3, 0), part(4, 3), part(2, 7)))


def test_it_is_as_long_as_its_parts() -> None:
    assert (JOINED.n, JOINED.t, JOINED.d) == (9, 2, 3)
    assert JOINED.labels.tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1]


@given(st.lists(st.integers(0, 8), max_size=20))
def test_tokens_come_in_the_order_asked_for(positions) -> None:
    found = JOINED.tokens(torch.tensor(positions, dtype=torch.int64))
    assert found.shape == (len(positions), 2, 3)
    assert found[:, 1, 2].tolist() == positions


def test_an_empty_part_is_skipped() -> None:
    empty = SubsetSource(part(3, 0), torch.zeros(0, dtype=torch.int64))
    joined = JoinedSource((empty, part(2, 5), empty, part(1, 9)))
    assert joined.tokens(torch.tensor([2, 0, 1]))[:, 0, 0].tolist() == [9, 5, 6]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"image positions must lie in \[0, 9\), got 2 to 9"):
        JOINED.tokens(torch.tensor([2, 9]))
    with pytest.raises(ShapeError, match=r"joined sources must be of one shape of tokens \(t, d\), got"):
        JoinedSource((part(3, 0), part(3, 0, t=5)))


def test_a_store_without_views_is_its_own_source_and_one_with_views_gives_all(tmp_path, write):
    write(tmp_path, "plain", 5)
    plain = FeatureStore.open(tmp_path / "plain")
    assert all_views(plain) is plain
    tokens = plain.tokens(range(5))
    write_store(
        tmp_path / "train", tokens, plain.labels, plain.image_ids, plain.grid, plain.backbone, 2, views=[tokens + 1]
    )
    source = all_views(FeatureStore.open(tmp_path / "train"))
    assert source.n == 10
    assert torch.equal(torch.cat(list(token_batches(source, 18))), torch.cat([tokens, tokens + 1]).reshape(-1, plain.d))
