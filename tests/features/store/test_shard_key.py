"""What names a shard: all that decides a token, and the names that the same content had before."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import protoquant
from protoquant.features.augment import View
from protoquant.features.config import LAST, AugmentConfig, ExtractConfig
from protoquant.features.store import shard_key
from protoquant.features.store.shard_key import shard_keys


def keys(
    *,
    view=None,
    images=("a", "b"),
    name="m",
    weights="w",
    tokens="t",
    preprocessing=(),
    strides=(),
    device="cpu",
    threads=1,
    layer=LAST,
    **config,
):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    seen = SimpleNamespace(to_dict=lambda: dict(preprocessing))
    spec = SimpleNamespace(
        name=name, weights=SimpleNamespace(digest=weights), preprocessing=seen, strides=dict(strides)
    )
    try:
        return shard_keys(
            ExtractConfig(**config),
            SimpleNamespace(spec=spec, device=torch.device(device), token_digest=tokens),
            images,
            view,
            layer,
        )
    finally:
        torch.set_num_threads(before)


def key(**changed):
    return keys(**changed)[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"images": ("b", "a")},
        {"name": "other"},
        {"tokens": "other"},
        {"preprocessing": (("crop", 96),)},
        {"strides": (("output_stride", 16),)},
        {"strides": (("patch_stride", 8),)},
        {"device": "cuda"},
        {"threads": 2},  # sums are cut by threads, so another number of them rounds otherwise
        {"batch": 7},
        {"dtype": "float32"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_all_that_decides_a_token_is_in_the_key(changed):
    assert key(**changed) != key()


def test_the_classifier_is_not_in_the_key_but_in_those_of_before():
    now, *before = keys()
    after, *others = keys(weights="other")
    assert after == now
    assert len(before) == 4
    assert not set(before) & set(others)


def test_what_only_cuts_the_store_is_not_in_the_key():
    assert key(shard=3) == key(shard=4) == key()


def test_another_source_of_a_token_gives_another_key_and_none_of_before(monkeypatch):
    before = keys()
    changed = shard_key._syntax() | {"decode": "changed"}
    monkeypatch.setattr(shard_key, "_syntax", lambda: changed)
    (after,) = keys()
    assert after not in before


@pytest.mark.parametrize("package", ["pillow", "timm", "torch"])
def test_another_version_of_a_package_that_makes_tokens_gives_another_key(monkeypatch, package):
    before = keys()
    monkeypatch.setattr(shard_key, "installed_version", lambda name: "0" if name == package else version(name))
    assert not set(before) & set(keys())


def test_the_sources_are_named_by_the_digests_of_their_syntax():
    root = Path(protoquant.__file__).parent
    former = shard_key._DECIDING_SOURCES | shard_key._VIEW_SOURCES
    every = former | shard_key._OVERLAP_SOURCES | shard_key._LAYER_SOURCES
    assert shard_key._syntax() == {
        name: shard_key.syntax_digest((root / path).read_text()) for name, path in every.items()
    }
    assert shard_key._FORMER.keys() == former.keys()


@pytest.mark.parametrize("view", [None, View(1, 0, AugmentConfig())], ids=["plain", "view"])
@pytest.mark.parametrize(
    ("place", "sources"),
    [
        (1, {name: one.strict for name, one in shard_key._FORMER.items()}),
        (2, {name: one.fixed for name, one in shard_key._FORMER.items()}),
        (3, {name: one.moved for name, one in shard_key._FORMER.items()}),
        (4, {one.path: one.bytes for one in shard_key._FORMER.values()}),
    ],
    ids=[
        "before checkpoints of trainings",
        "before view and strides",
        "syntax in the flat layout",
        "paths and bytes of version 0.1.0",
    ],
)
def test_the_keys_of_before_are_put_together_as_they_were_then(place, sources, view):
    former = dict(sources)
    augment = former.pop("augment" if "augment" in former else "features/augment.py")
    known = {
        "schema": 1, "backbone": "m", "weights": "w", "preprocessing": {}, "dtype": ExtractConfig().dtype,
        "batch": ExtractConfig().batch, "device": "cpu", "threads": 1, "images": ["a", "b"], "sources": former,
        "packages": {name: version(name) for name in ("pillow", "timm", "torch")},
    }  # fmt: skip
    if view is not None:
        known["view"] = view.to_dict() | {"source": augment}
    assert keys(view=view)[place] == hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def test_layers_strides_and_views_of_the_last_period_keep_their_shards():
    """The keys of that period name layer, strides, overlap and the digest of the whole model."""
    strides = (("patch_stride", 8),)
    sources = {name: one.strict for name, one in shard_key._FORMER.items()}
    augment, now = sources.pop("augment"), shard_key._syntax()
    view = View(1, 0, AugmentConfig())
    known = {
        "schema": 1, "backbone": "m", "weights": "w", "preprocessing": {}, "dtype": ExtractConfig().dtype,
        "batch": ExtractConfig().batch, "device": "cpu", "threads": 1, "images": ["a", "b"], "sources": sources,
        "packages": {name: version(name) for name in ("pillow", "timm", "torch")}, "strides": dict(strides),
        "layer": {"name": "blocks.4", "source": now["layers"]}, "overlap": now["overlap"],
        "view": view.to_dict() | {"source": augment},
    }  # fmt: skip
    expected = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    _, *before = keys(view=view, strides=strides, layer="blocks.4")
    assert before == [expected]
