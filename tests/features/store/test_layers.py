"""Stores of several layers: what is read of them, and what is made of the last layer alone."""

import pytest
import torch

from protoquant.core.artifacts import artifact_digest, open_artifact
from protoquant.core.errors import ArtifactError
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.stream import stream_tokens
from protoquant.features.store.writer import write_store
from protoquant.features.tokens import LayeredTokens
from tests.builders.specs import spec

IDS = [f"{number}.png" for number in range(7)]
LABELS = [0, 1, 0, 1, 0, 1, 0]


def layered(seed: int = 0) -> LayeredTokens:
    generator = torch.Generator().manual_seed(seed)
    maps = tuple(torch.randn(7, cells, d, generator=generator).half() for cells, d in ((24, 4), (24, 3), (6, 5)))
    return LayeredTokens(maps, ((4, 6), (4, 6), (2, 3)), ("early", "late", "last"))


def write(folder, tokens=None, views=(), dtype=None):
    tokens = tokens or layered()
    names = tokens.names
    write_store(folder, tokens, LABELS, IDS, (2, 3), spec(layers=names), shard=3, views=views, dtype=dtype)
    return FeatureStore.open(folder)


def test_every_layer_is_read_in_any_order_and_as_a_stream(tmp_path) -> None:
    tokens, store = layered(), write(tmp_path / "train")
    assert (store.t, store.d, store.grid, store.n) == (24, 12, (4, 6), 7)
    chosen = torch.tensor([6, 0, 3])
    read = store.tokens(chosen)
    assert isinstance(read, LayeredTokens)
    assert (read.names, read.grids) == (tokens.names, tokens.grids)
    streamed = list(stream_tokens(store, 2, torch.device("cpu")))
    for layer, of_layer in enumerate(tokens.maps):
        assert torch.equal(read.maps[layer], of_layer[chosen])
        assert torch.equal(torch.cat([batch.maps[layer] for batch in streamed]), of_layer)


def test_bytes_with_scales_are_kept_for_each_layer(tmp_path) -> None:
    store = write(tmp_path / "train", dtype="int8")
    for stored, given in zip(store.tokens([2, 5]).maps, layered().maps, strict=True):
        assert torch.allclose(stored, given[[2, 5]].float(), atol=0.03)


@pytest.mark.parametrize("layers", [("last",), ("late", "last"), ("early", "last")])
def test_some_layers_are_the_same_to_the_digest_as_a_store_of_no_other(tmp_path, layers) -> None:
    whole, view = layered(), layered(1)
    write(tmp_path / "whole", views=(view,))
    kept = [whole.names.index(name) for name in layers]

    def part(tokens):
        held = LayeredTokens(*(tuple(of[one] for one in kept) for of in (tokens.maps, tokens.grids, tokens.names)))
        return held if len(kept) > 1 else held.maps[0]

    names = layers if len(kept) > 1 else ("last",)
    write_store(tmp_path / "part", part(whole), LABELS, IDS, (2, 3), spec(layers=names), shard=3, views=(part(view),))
    chosen, alone = FeatureStore.open(tmp_path / "whole", layers), FeatureStore.open(tmp_path / "part")
    assert chosen.digest == artifact_digest(tmp_path / "part") == alone.digest
    assert chosen.digest != FeatureStore.open(tmp_path / "whole").digest
    assert chosen.backbone == alone.backbone
    assert (chosen.shapes, chosen.views[0].shapes) == (alone.shapes, alone.views[0].shapes)


def test_a_store_of_the_last_layer_alone_names_no_layers(tmp_path) -> None:
    write_store(tmp_path / "train", layered().maps[2], LABELS, IDS, (2, 3), spec())
    extra = open_artifact(tmp_path / "train", "feature-store").extra
    assert "layers" not in extra
    assert "layers" not in extra["backbone"]


def test_a_layer_that_is_not_stored_or_damaged_is_named(tmp_path) -> None:
    write(tmp_path / "train")
    with pytest.raises(ArtifactError, match=r"holds the layers early, late, last, not first; name it in "):
        FeatureStore.open(tmp_path / "train", ("first", "last"))
    shard = tmp_path / "train" / "layers" / "late" / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match=r"layers/late/shard-00001.safetensors is damaged"):
        FeatureStore.open(tmp_path / "train").tokens([4])
    assert isinstance(FeatureStore.open(tmp_path / "train", ("early", "last")).tokens([4]), LayeredTokens)
