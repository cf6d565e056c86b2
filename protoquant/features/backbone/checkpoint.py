"""Reads tensors from what training scripts write, without running code that a file may hold."""

from __future__ import annotations

import re
import struct
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeGuard
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from protoquant.core.errors import ArtifactError, ConfigError, UsageError
from protoquant.features.backbone.file_kind import refuse_other_files

ENTRIES = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training scripts put a model's tensors, in the order in which they are looked for; timm's own order."""
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.")
"""What wrappers of a model put before the names of all its tensors."""
_COUNTER = "n_averaged"
"""The one name beside ``module.`` that torch's AveragedModel writes."""
_ENDED = (EOFError, IndexError, struct.error)
"""What torch's reader of its older format raises where a file ends too early."""
_DAMAGED = (
    SafetensorError, UnpicklingError, BadZipFile, RuntimeError, OSError, ValueError, TypeError, KeyError,
    AttributeError, AssertionError,
)  # fmt: skip
"""What it and the readers of the other formats raise on bytes that they did not expect."""
_REFUSED = "Weights only load failed"
_OBJECT = re.compile(r"GLOBAL (\S+) was not an allowed global")
_CUT = ("unexpected EOF", "was truncated", "Ran out of input")
"""What it says then within another error."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's tensors out of a file.

    Attributes:
        tensors: Tensors by the model's own names.
        notes: What was chosen and changed on the way, a sentence each; empty for a plain file.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path, entry: str | None = None) -> Checkpoint:
    """Read the tensors of a model from safetensors or a torch checkpoint.

    Args:
        path: The file; tensors by name, or a checkpoint of a training script that holds such entries.
        entry: Name of the entry to take; None for the first of ``ENTRIES`` that is there.

    Raises:
        UsageError: There is no such file.
        ConfigError: The file has no entry of that name.
        ArtifactError: It is damaged, is something else, or holds no tensors by name.
    """
    if not path.is_file():
        raise UsageError(f"extract.weights_file: there is no file {path}; give the path of a checkpoint")
    refuse_other_files(path)
    held = _opened(path)
    notes: list[str] = []
    if _are_tensors(held):
        if entry is not None:
            raise ConfigError(
                f"extract.weights_entry: {path} holds tensors and no entries, got {entry!r}; leave it empty (null)"
            )
        tensors = dict(held)
    else:
        tensors = _entry(held, path, entry, notes)
    return Checkpoint(_without_prefix(tensors, path, notes), tuple(notes))


def _opened(path: Path) -> Mapping[str, object]:
    """The mapping that a file holds."""
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, object] = load_file(path)
            return tensors
        # timm writes the arguments of a training beside the weights.
        with torch.serialization.safe_globals([Namespace]):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (*_ENDED, *_DAMAGED) as error:
        if isinstance(error, _ENDED) or any(sign in str(error) for sign in _CUT):
            raise ArtifactError(f"{path} is cut off: it ends within a value; copy or download it again") from error
        reason = _reason(error)
        raise ArtifactError(f"{path} is no checkpoint of tensors alone ({reason}); save it as safetensors") from error
    if not isinstance(held, Mapping):
        kind = type(held).__name__
        raise ArtifactError(f"{path} must map names to tensors, it holds {kind}; save model.state_dict()")
    return held


def _reason(error: Exception) -> str:
    """Why a file was refused, in a few words; torch's own advice is to run its code, so it is not passed on."""
    said = str(error).strip()
    if found := _OBJECT.search(said):
        return f"it holds an object of {found[1]}, which may be code"
    if _REFUSED in said or not said or isinstance(error, (TypeError, KeyError, AttributeError, AssertionError)):
        return "it is damaged or in no known format"
    return said.partition("\n")[0]


def _are_tensors(held: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(held, Mapping)
        and bool(held)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in held.items())
    )


def _entry(held: Mapping[str, object], path: Path, entry: str | None, notes: list[str]) -> dict[str, Tensor]:
    """The tensors of the chosen entry, or of the first one in the documented order."""
    there = {str(name): value for name, value in held.items() if _are_tensors(value)}
    known = [name for name in ENTRIES if name in there]
    named = ", ".join([*known, *sorted(there.keys() - set(known))])
    if entry is not None and entry not in there:
        has = f"it has {named}" if there else "it has none"
        raise ConfigError(f"extract.weights_entry: {path} has no entry of tensors {entry!r}; {has}")
    if entry is None and not known:
        if there:
            raise ArtifactError(
                f"{path} holds tensors in {named}, not in one of {', '.join(ENTRIES)}; set extract.weights_entry"
            )
        keys = f"keys {', '.join(map(repr, list(held)[:5]))}" if held else "no keys"
        raise ArtifactError(f"{path} must map names to tensors, it holds {keys}; save model.state_dict()")
    chosen = entry or known[0]
    if entry is None and len(there) > 1:
        notes.append(f"{path.name} holds {named}; {chosen} is taken; set extract.weights_entry for another")
    return dict(there[chosen])


def _without_prefix(tensors: dict[str, Tensor], path: Path, notes: list[str]) -> dict[str, Tensor]:
    """Take the prefixes off that all names share."""
    if all(name.startswith("module.") for name in tensors if name != _COUNTER):
        tensors = {name: tensor for name, tensor in tensors.items() if name != _COUNTER}
    taken = ""
    while prefix := next((one for one in PREFIXES if all(name.startswith(one) for name in tensors)), None):
        if not tensors:
            break
        taken += prefix
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if taken:
        notes.append(f"{path.name}: all names begin with {taken}, which is left out")
    return tensors
