from types import SimpleNamespace

import pytest
import torch

from protoquant.features.config import ExtractConfig
from protoquant.features.shards import shard_key


def key(*, images=("a", "b"), name="m", weights="w", preprocessing=(), device="cpu", threads=1, **config):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    seen = SimpleNamespace(to_dict=lambda: dict(preprocessing))
    spec = SimpleNamespace(name=name, weights=SimpleNamespace(digest=weights), preprocessing=seen)
    try:
        return shard_key(ExtractConfig(**config), SimpleNamespace(spec=spec, device=torch.device(device)), images)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "changed",
    [
        {"images": ("b", "a")},
        {"name": "other"},
        {"weights": "other"},
        {"preprocessing": (("crop", 96),)},
        {"device": "cuda"},
        {"threads": 2},  # sums are cut by threads, so another number of them rounds otherwise
        {"batch": 7},
        {"dtype": "float32"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_all_that_decides_a_token_is_in_the_key(changed):
    assert key(**changed) != key()


def test_what_only_cuts_the_store_is_not_in_the_key():
    assert key(shard=3) == key(shard=4) == key()
