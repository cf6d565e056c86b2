import pytest
import torch

from protoquant.codebook.tokens import (
    Sampled,
    TensorSource,
    image_batches,
    sample_tokens,
    token_batches,
)
from protoquant.features.store.store import FeatureStore

TOKENS = torch.arange(5 * 3 * 2, dtype=torch.float32).reshape(5, 3, 2)
SOURCE = TensorSource(TOKENS, torch.tensor([0, 1, 0, 1, 0]))


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 5), (3, [1] * 5), (7, [2, 2, 1]), (100, [5])])
def test_batches_hold_whole_images(batch, sizes):
    assert [len(images) for images in image_batches(SOURCE, batch)] == sizes


def test_tokens_come_in_order_and_once():
    assert torch.equal(torch.cat(list(token_batches(SOURCE, 6))), TOKENS.reshape(-1, 2))


def test_shuffled_batches_hold_every_image_once_in_another_order():
    order = torch.cat(list(image_batches(SOURCE, 6, torch.Generator().manual_seed(1)))).tolist()
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order != [0, 1, 2, 3, 4]


def test_the_cut_does_not_depend_on_shards(tmp_path, write):
    parts = []
    for shard in (2, 5, 100):
        write(tmp_path / str(shard), "train", 9, shard=shard)
        parts.append(list(token_batches(FeatureStore.open(tmp_path / str(shard) / "train"), 18)))
    for one, other in [(parts[0], parts[1]), (parts[0], parts[2])]:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_sample_is_drawn_from_the_named_images_without_replacement():
    images = torch.tensor([1, 3])
    drawn = sample_tokens(SOURCE, images, 4, torch.Generator().manual_seed(0))
    allowed = TOKENS[images].reshape(-1, 2).tolist()
    assert len(drawn) == 4
    assert all(row in allowed for row in drawn.tolist())
    assert len({tuple(row) for row in drawn.tolist()}) == 4


def test_a_sample_larger_than_the_images_is_all_of_them():
    drawn = sample_tokens(SOURCE, torch.tensor([4, 0]), 99, torch.Generator())
    assert torch.equal(drawn, TOKENS[[4, 0]].reshape(-1, 2))


def test_sampled_cells_are_drawn_once_and_do_not_depend_on_batches():
    values = torch.arange(5 * 6 * 2.0).reshape(5, 6, 2)
    whole = TensorSource(values, torch.tensor([0, 1, 0, 1, 0]))
    some = Sampled.draw(whole, 3, torch.Generator().manual_seed(0))
    assert (some.n, some.t, some.d) == (5, 3, 2)
    assert torch.equal(some.labels, whole.labels)
    together = some.tokens(torch.arange(5))
    for image in range(5):
        assert torch.equal(some.tokens(torch.tensor([image]))[0], together[image])
        rows = [values[image].tolist().index(row) for row in together[image].tolist()]
        assert rows == sorted(set(rows))
    assert len({tuple(cells) for cells in some.cells.tolist()}) > 1
