"""Fits a checkpoint and a model to each other: the number of classes, and positions for an input of another size."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from protoquant.features.backbone.overlap import positions_fitted

_POSITIONS = "pos"
"""Part of the name of each tensor that depends on the grid: ``pos_embed``, ``relative_position_bias_table``."""


def classifiers(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the layers that give a model's logits; empty where timm states none.

    Args:
        settings: timm's pretrained settings of the model.
    """
    names = settings.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def classes_in(state: Mapping[str, Tensor], name: str) -> int | None:
    """Number of classes of the classifier in a checkpoint; 0 without one, None for the model's own number.

    Args:
        state: Tensors by name.
        name: timm's name of the model.
    """
    settings = timm.models.get_pretrained_cfg(name).to_dict()
    found = classifiers(settings)
    if not found:
        return None
    weight = state.get(f"{found[0]}.weight")
    if weight is not None and weight.ndim:
        classes = len(weight)
    elif any(entry.startswith(f"{one}.") for one in found for entry in state):
        return None  # an incomplete classifier is refused, not replaced
    else:
        classes = 0
    return None if classes == settings["num_classes"] else classes


def fitted(state: Mapping[str, Tensor], model: nn.Module) -> tuple[Mapping[str, Tensor], list[str]]:
    """Resample positions for the model's input size; everything else stays as it is.

    Args:
        state: Tensors by name.
        model: The model, created at its input size.

    Returns:
        The state, and a sentence if positions were resampled.
    """
    plain = isinstance(model, VisionTransformer)
    after = positions_fitted(state, model) if plain else _as_timm_does(state, model)
    changed = [name for name in state if after[name].shape != state[name].shape]
    if not changed:
        return state, []
    first = changed[0]
    more = f" and {len(changed) - 1} more" if changed[1:] else ""
    before, now = tuple(state[first].shape), tuple(after[first].shape)
    return after, [f"positions are resampled from {before} to {now} for this input size: {first}{more}"]


def _as_timm_does(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The positions of other families than plain vision transformers, converted as those of timm's hub are."""
    wanted = model.state_dict()
    others = [
        name
        for name, tensor in state.items()
        if _POSITIONS in name and name in wanted and tensor.shape != wanted[name].shape
    ]
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if not others or convert is None:
        return state
    try:
        converted = convert(dict(state), model)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return state  # the shapes are then refused by name
    return {**state, **{name: converted[name] for name in others if name in converted}}
