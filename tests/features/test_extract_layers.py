"""Extraction of several layers: one pass for those that are missing, and a store that holds each on its grid."""

import pytest
import torch

from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ConfigError
from protoquant.data.table import ImageTable
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.config import AugmentConfig
from protoquant.features.decode import decode, sources_of
from protoquant.features.store.store import FeatureStore
from protoquant.features.tokens import LayeredTokens
from tests.builders.backbones import RESNET
from tests.features.test_extract import run

pytestmark = pytest.mark.model


def test_each_layer_is_stored_on_its_own_grid(photos, tmp_path) -> None:
    config = RESNET.config(tmp_path, batch=4, shard=8, layers=("layer3", "last"))
    result = run(config, photos)
    assert [(layer.name, layer.grid, layer.d) for layer in result.layers] == [
        ("layer3", (4, 6), 192),
        ("last", (2, 3), 96),
    ]
    store, backbone = FeatureStore.open(result.out / "train"), Backbone.load(config, "cpu")
    sources = sources_of(ImageTable.open(*photos).split("train"))[:4]
    tokens = backbone.features(backbone.normalise(torch.stack([decode(source, backbone) for source in sources]))).tokens
    stored = store.tokens(range(4))
    assert isinstance(stored, LayeredTokens)
    assert isinstance(tokens, LayeredTokens)
    for kept, fresh in zip(stored.maps, tokens.maps, strict=True):
        assert torch.equal(kept, fresh.half())


def test_a_layer_that_comes_later_leaves_the_stored_ones_as_they_are(photos, tmp_path) -> None:
    last, both = (RESNET.config(tmp_path, batch=4, shard=4, layers=names) for names in (("last",), ("layer3", "last")))
    first = run(last, photos)
    shard = first.out / "train" / "shard-00000.safetensors"
    before, digest = shard.read_bytes(), artifact_digest(first.out / "train")
    more = run(both, photos)
    assert (first.computed, more.computed, more.linked) == (6, 6, 6)
    assert shard.read_bytes() == before
    assert FeatureStore.open(more.out / "train", ("last",)).digest == digest
    again = run(last, photos)
    assert (again.computed, again.linked, artifact_digest(again.out / "train")) == (0, 6, digest)


def test_views_hold_the_same_layers(photos, tmp_path) -> None:
    config = RESNET.config(tmp_path, layers=("layer2", "last"), views=2, augment=AugmentConfig())
    store = FeatureStore.open(run(config, photos).out / "train")
    assert [view.shapes for view in store.views] == [store.shapes] * 2


def test_an_unknown_layer_is_named_before_any_image_is_read(photos, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"extract\.layers: test_resnet has no 'layer9', it has "):
        run(RESNET.config(tmp_path, layers=("layer9", "last")), photos)
    assert not (tmp_path / "cache").exists()
