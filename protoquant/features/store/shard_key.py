"""Keys of shards: digests of everything that decides the content, including our own code."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from protoquant.core.artifacts import digest_json
from protoquant.core.packages import installed_version
from protoquant.core.syntax import syntax_digest
from protoquant.features.augment import View
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.config import LAST, ExtractConfig
from protoquant.features.store.shared_cache import SCHEMA

_DECIDING_PACKAGES = ("pillow", "timm", "torch")
_DECIDING_SOURCES = {
    "images": "data/images.py",
    "pixels": "data/pixels.py",
    "backbone": "features/backbone/backbone.py",
    "build": "features/backbone/build.py",
    "decode": "features/decode.py",
    "dtypes": "features/store/dtypes.py",
    "layout": "features/backbone/layout.py",
    "preprocessing": "features/backbone/preprocessing.py",
    "weights": "features/backbone/weights.py",
}
"""Our own code that decides a token, under names that do not change when a file moves."""
_AUGMENT = "augment"
_VIEW_SOURCES = {_AUGMENT: "features/augment.py"}
_OVERLAP = "overlap"
_OVERLAP_SOURCES = {_OVERLAP: "features/backbone/overlap.py"}
_LAYERS = "layers"
_LAYER_SOURCES = {_LAYERS: "features/backbone/layers.py"}


class _Former(NamedTuple):
    """A source file as earlier keys name it, and the syntax digest under which those keys are still valid.

    Attributes:
        path: Its path in version 0.1.0, whose keys use the path and ``bytes``.
        bytes: Digest of its bytes in version 0.1.0.
        moved: Digest of its syntax before it moved to its present path; the keys of that period use it.
        fixed: Digest of its syntax before view and strides could be chosen; the keys of that period use it.
        strict: Digest of its syntax before a checkpoint of a training run was read; the keys of that period use it.
        syntax: Digest of its present syntax, which computes the same as the earlier versions.
    """

    path: str
    bytes: str
    moved: str
    fixed: str
    strict: str
    syntax: str


_FORMER = {
    "images": _Former(
        "data/images.py",
        "59dae3538f3126d5a2b72bbe55549b8986cb4aebbcdb8cf90a9ff15b504e98c6",
        "2aef78391cbf2bcfc3bb21d6cd48709909b9b03392aa59a43b7cb09d910a70b5",
        "2aef78391cbf2bcfc3bb21d6cd48709909b9b03392aa59a43b7cb09d910a70b5",
        "2aef78391cbf2bcfc3bb21d6cd48709909b9b03392aa59a43b7cb09d910a70b5",
        "57134e498837393a7a042e8e46723b68d53a6d5d896855a643ba704f5df93e9b",
    ),
    "pixels": _Former(
        "data/pixels.py",
        "2299e5c2fe8cab2f8029d45fb77467a94e6782bfa084397016236f1f2da98e1f",
        "8c6e310ddb24541826d163339728dc556c09c4934a42e6bb56f6841d5bc77556",
        "8c6e310ddb24541826d163339728dc556c09c4934a42e6bb56f6841d5bc77556",
        "8c6e310ddb24541826d163339728dc556c09c4934a42e6bb56f6841d5bc77556",
        "8c6e310ddb24541826d163339728dc556c09c4934a42e6bb56f6841d5bc77556",
    ),
    "backbone": _Former(
        "features/backbone.py",
        "49497e8eed5c644c05024190600cf469ccf4d552c54bd120c4a93a8f29f4154c",
        "4035052d94472dcb0669a72d40b09a8001428782aab4d1c0abae251a189a20c3",
        "e8cc36bfdfe33bdf17c4fadcac1cc900d7fcf46a8a302829a630360534b66697",
        "bcff36cbb69cbd7263801dd9d38e6fa50a4c3c73c17244392ee245111fb32ce1",
        "fc3a1af3de6cfc8272ac5b75366c2f61bae7db13f41a15a6805ff66f1e535e5a",
    ),
    "build": _Former(
        "features/build.py",
        "3a9162cd64222786aa715212363e97f82caded020dd36aa9375c5ad238139007",
        "bd5daad29e5292f144e38ba511583f06a4f79a83cdbea5cd32f6270b88c2f004",
        "c828aef49683c0542c97578026b176ac7101470c4dbec2d5131908550f87a1b3",
        "1d2743e2169c14d2adad24c168fef86cca2d2b77e8481b28fbc187ab073911ac",
        "719b4acf9acba6ba25ee344ee56a059042dd3f8781d78e53f1635c21de95e0eb",
    ),
    "decode": _Former(
        "features/decode.py",
        "1cc4ae10e838acc90701d554e619b8681e88bfb5ced72ad7fe72675e6b8cd63c",
        "61987a325d08fab1be2fa8b3099fb64dd521b3839cbbb6c2f713f1e497000c17",
        "0957d908da5e81bf4d07523207b3a9c7fd2ebd48b05ade9aeee34ef7072c69e5",
        "0957d908da5e81bf4d07523207b3a9c7fd2ebd48b05ade9aeee34ef7072c69e5",
        "0957d908da5e81bf4d07523207b3a9c7fd2ebd48b05ade9aeee34ef7072c69e5",
    ),
    "dtypes": _Former(
        "features/dtypes.py",
        "477a6383a77c12d4acfb749eadf9e2346ae51c607c5539a7736ebf8f942eb785",
        "8e507977ff45166f17e89817ef09deecd3103c4ef475505b0e1dfd9e171d5978",
        "8e507977ff45166f17e89817ef09deecd3103c4ef475505b0e1dfd9e171d5978",
        "8e507977ff45166f17e89817ef09deecd3103c4ef475505b0e1dfd9e171d5978",
        "8e507977ff45166f17e89817ef09deecd3103c4ef475505b0e1dfd9e171d5978",
    ),
    "layout": _Former(
        "features/layout.py",
        "3ff938b531c1a25740717cd22e1cb06a41a9e4d52fdc5f349ab31ab63dae2b85",
        "a39b55bdfc5dd25fe15859029a478b9a14292b7c38926175a5cdb3fff11d3944",
        "a39b55bdfc5dd25fe15859029a478b9a14292b7c38926175a5cdb3fff11d3944",
        "a39b55bdfc5dd25fe15859029a478b9a14292b7c38926175a5cdb3fff11d3944",
        "a39b55bdfc5dd25fe15859029a478b9a14292b7c38926175a5cdb3fff11d3944",
    ),
    "preprocessing": _Former(
        "features/preprocessing.py",
        "ebb2bbbc93b98e940d3048408ec9b6411b7e4390de9afafb690ffa71b35822df",
        "ea3b639a37ebb3f41b1b62062296467c786b0b2822f1fb077ac298a740c692a2",
        "ea3b639a37ebb3f41b1b62062296467c786b0b2822f1fb077ac298a740c692a2",
        "956ca4be335f61939f56747a4f3cbe4b044ed1069af21abc1b3ca980323cc381",
        "956ca4be335f61939f56747a4f3cbe4b044ed1069af21abc1b3ca980323cc381",
    ),
    "weights": _Former(
        "features/weights.py",
        "2c508ff52b904a581a7872b6065334d8189fbf4fa055950e77790b58f0d80f08",
        "a772d4715600ffafb1db844cd61624e4046c54fa31b16631861287ab463ab755",
        "a772d4715600ffafb1db844cd61624e4046c54fa31b16631861287ab463ab755",
        "a772d4715600ffafb1db844cd61624e4046c54fa31b16631861287ab463ab755",
        "1cf399d4287ba856957a7439c6da528fc7a8609f642752b90fb51e3cd7944b1b",
    ),
    "augment": _Former(
        "features/augment.py",
        "e0cc58c716d914095495273a889ab738982876e8db0284cb272c5fd8d0b79b69",
        "9baa40732f10e4bf9c36bcaca477353bf9b4d07695108100a37a585cfa5f8da3",
        "65702af1ff8373de9cc796aa0cdb8415931b1916992b997dee894156bcbff8ac",
        "b1176f360548542bc3aa073f915d3fbed4c63c8f015d9d43a6971e2fe9db0c34",
        "b1176f360548542bc3aa073f915d3fbed4c63c8f015d9d43a6971e2fe9db0c34",
    ),
}
"""Earlier shards remain valid while the syntax of the code has these digests."""


def shard_keys(
    config: ExtractConfig, backbone: Backbone, digests: Sequence[str], view: View | None = None, layer: str = LAST
) -> tuple[str, ...]:
    """Digest everything that decides the content of a shard; paths and labels do not.

    Args:
        config: Its dtype and batch are part of the key; the batch decides the rounding.
        backbone: Its name, preprocessing, device and the weights that make tokens are part of the key; strides where
            they are set.
        digests: Digests of the image files, in order.
        view: Its number, seed and augmentation are part of the key; keys of plain images do not contain them.
        layer: Its name is part of the key; keys of the last layer do not contain it. The other layers of a run are not.

    Returns:
        The key, followed by the earlier keys if our code still computes the same as it did then.
    """
    known = {
        "schema": SCHEMA,
        "backbone": backbone.spec.name,
        "weights": backbone.token_digest,
        "preprocessing": backbone.spec.preprocessing.to_dict(),
        "dtype": config.dtype,
        "batch": config.batch,
        "device": backbone.device.type,
        "threads": torch.get_num_threads(),
        "packages": {name: installed_version(name) for name in _DECIDING_PACKAGES},
        "images": list(digests),
        **({} if layer == LAST else {"layer": {"name": layer, "source": _syntax()[_LAYERS]}}),
    }

    strides = backbone.spec.strides
    if strides:
        known["strides"] = strides
    if "patch_stride" in strides:
        known["overlap"] = _syntax()[_OVERLAP]

    def named(sources: dict[str, str], augment: str) -> str:
        of_view = {} if view is None else {"view": view.to_dict() | {"source": augment}}
        return digest_json(known | {"sources": sources} | of_view)

    now = _syntax()
    key = named({name: now[name] for name in _DECIDING_SOURCES}, now[_AUGMENT])
    deciding = [*_DECIDING_SOURCES] if view is None else [*_DECIDING_SOURCES, _AUGMENT]
    if any(now[name] != _FORMER[name].syntax for name in deciding):
        return (key,)
    known["weights"] = backbone.spec.weights.digest  # earlier keys name the whole model's, with its classifier
    former, augment = {name: _FORMER[name] for name in _DECIDING_SOURCES}, _FORMER[_AUGMENT]
    strict = named({name: source.strict for name, source in former.items()}, augment.strict)
    if layer != LAST:
        return key, strict  # versions before that stored the last layer alone
    fixed = named({name: source.fixed for name, source in former.items()}, augment.fixed)
    moved = named({name: source.moved for name, source in former.items()}, augment.moved)
    return key, strict, fixed, moved, named({source.path: source.bytes for source in former.values()}, augment.bytes)


@cache
def _syntax() -> dict[str, str]:
    """Digest of each source, so that no old shard in the cache matches after a change."""
    root = Path(__file__).parents[2]
    sources = _DECIDING_SOURCES | _VIEW_SOURCES | _OVERLAP_SOURCES | _LAYER_SOURCES
    return {name: syntax_digest((root / path).read_text(encoding="utf-8")) for name, path in sources.items()}
