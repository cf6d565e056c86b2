"""Builds a frozen timm model and its preprocessing from a name and a source of weights."""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import Any, Literal

import timm
from torch import nn

from protoquant.core.errors import ConfigError, UsageError, suggest
from protoquant.core.events import MessageEvent, OnEvent, ignore
from protoquant.features.backbone.checkpoint import read_checkpoint
from protoquant.features.backbone.fitting import classes_in, fitted
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.backbone.spec import WeightSource
from protoquant.features.backbone.weights import load_strictly, packaged_state
from protoquant.features.config import PACKAGED

_LITE = (0.5, 0.5, 0.5)
_STRIDE = (
    "extract.output_stride: {name} cannot keep its last map at {stride} pixels a cell; leave it empty (null) or choose "
    "a convolutional model that dilates, such as a ResNet, ConvNeXt or EfficientNet"
)


def check_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        ConfigError: The name is unknown; the message suggests the nearest one.
    """
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = suggest(architecture, timm.list_models())
        raise ConfigError(f"extract.backbone: timm has no model {name!r}{near}; see protoquant backbones list")
    tags = timm.models.get_arch_pretrained_cfgs(architecture)
    if "." in name and name not in tags:
        names = ", ".join(sorted(tags)) or "none"
        raise ConfigError(f"extract.backbone: {architecture} has no weights tagged {tag!r}; known: {names}")


def build_model(
    name: str,
    source: WeightSource,
    file: Path | None,
    input_size: tuple[int, int] | None,
    output_stride: int | None = None,
    *,
    entry: str | None = None,
    on_event: OnEvent = ignore,
) -> tuple[nn.Module, Preprocessing]:
    """Build a model, load its weights and freeze it.

    With weights from a file, the model has as many classes as the file, and positions are resampled to its grid.

    Args:
        name: timm's name, with or without a tag.
        source: Where the weights come from.
        file: The checkpoint; only with source ``file``.
        input_size: (height, width) of the crop in pixels; None for the model's own.
        output_stride: Pixels of a cell, kept by dilation; None for the model's own.
        entry: The checkpoint's entry that holds the weights; None for the first known one.
        on_event: Receives what was chosen and changed on the way from the file to the model.

    Returns:
        The model, permanently in evaluation mode, and its preprocessing.

    Raises:
        ConfigError: The name is unknown, the model refuses size or stride or does not take three channels.
        UsageError: The weights are not available. ArtifactError: They do not fit.
    """
    check_name(name)
    if source == "file":
        if file is None:
            raise ConfigError("weights from a file need the path of the checkpoint; set extract.weights_file")
        model = _of_file(name, file, input_size=input_size, output_stride=output_stride, entry=entry, on_event=on_event)
        return freeze(model), preprocessing_of(model, source, input_size)
    model = create(name, pretrained=source == "hub", input_size=input_size, output_stride=output_stride)
    if source == "packaged":
        if name.partition(".")[0] not in PACKAGED:
            raise ConfigError(f"no packaged weights for {name!r}, only for {', '.join(PACKAGED)}; take hub or file")
        load_strictly(model, packaged_state(), "the packaged checkpoint")
    return freeze(model), preprocessing_of(model, source, input_size)


def _of_file(
    name: str,
    file: Path,
    *,
    input_size: tuple[int, int] | None,
    output_stride: int | None,
    entry: str | None,
    on_event: OnEvent,
) -> nn.Module:
    """The model with the weights of a file; what was done with them is told once they fit."""
    checkpoint = read_checkpoint(file, entry)
    classes = classes_in(checkpoint.tensors, name)
    model = create(name, pretrained=False, input_size=input_size, output_stride=output_stride, classes=classes)
    state, resampled = fitted(checkpoint.tensors, model)
    load_strictly(model, state, str(file))
    notes = [*checkpoint.notes, *resampled]
    if classes is not None:
        held = f"a classifier of {classes:,} classes" if classes else "no classifier"
        notes.append(f"{file.name} holds {held}, which the features do not need")
    for note in notes:
        on_event(MessageEvent(f"extract: {note}"))
    return model


def freeze(model: nn.Module) -> nn.Module:
    """Put a model into evaluation mode for good (its train() does nothing) and clear every requires_grad."""
    model.eval().requires_grad_(requires_grad=False)
    model.train = MethodType(_stay_in_evaluation, model)  # type: ignore[method-assign]
    return model


def preprocessing_of(model: nn.Module, source: WeightSource, input_size: tuple[int, int] | None) -> Preprocessing:
    """The transform that the weights were evaluated with.

    The packaged weights have their own: resize 256, bicubic, centre crop 224, mean = std = 0.5. All others use
    timm's data config of the model.

    Raises:
        ConfigError: The model does not take three channels.
    """
    if source == "packaged":
        crop = input_size or (224, 224)
        return Preprocessing.from_share(crop, 0.875, mode="center", interpolation="bicubic", mean=_LITE, std=_LITE)
    config: dict[str, Any] = timm.data.resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    if channels != 3:
        raise ConfigError(f"extract.backbone: images have 3 channels, this model takes {channels}; choose another")
    return Preprocessing.from_share(
        input_size or (height, width),
        config["crop_pct"],
        mode=config["crop_mode"],
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def viewed(preprocessing: Preprocessing, view: Literal["center", "squash", "pad"]) -> Preprocessing:
    """The transform for what the backbone is to see of an image.

    Args:
        preprocessing: The transform that the weights were evaluated with, which is ``center``.
        view: ``extract.view``.
    """
    if view == "center":
        return preprocessing
    return preprocessing.whole("squash" if view == "squash" else "border")


def create(
    name: str,
    *,
    pretrained: bool,
    input_size: tuple[int, int] | None,
    output_stride: int | None = None,
    classes: int | None = None,
) -> nn.Module:
    """Create a timm model, with the requested size if the size is fixed at creation.

    Args:
        name: A name that timm knows.
        pretrained: Whether to load timm's own weights; otherwise they are random.
        input_size: (height, width) in pixels; None for the model's own.
        output_stride: Pixels of a cell, kept by dilation; None for the model's own.
        classes: Number of outputs of the classifier, 0 for none; None for the model's own.

    Raises:
        ConfigError: The model refuses the size or the stride. UsageError: The hub cannot provide its weights.
    """
    fixed = timm.models.get_pretrained_cfg(name).fixed_input_size
    options: dict[str, Any] = {"img_size": input_size} if input_size is not None and fixed else {}
    if output_stride is not None:
        options["output_stride"] = output_stride
    if classes is not None:
        options["num_classes"] = classes
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"extract.weights: hub could not give {name} ({reason}); go online, or take file") from error
    except (AssertionError, ValueError, TypeError) as error:
        if output_stride is not None:
            raise ConfigError(_STRIDE.format(name=name, stride=output_stride)) from error
        if isinstance(error, TypeError):
            raise
        raise ConfigError(f"extract.input_size: {name} refuses {input_size} ({error}); choose another size") from error
    if output_stride is not None and stride_of(model) != output_stride:
        raise ConfigError(_STRIDE.format(name=name, stride=output_stride))
    return model


def stride_of(model: nn.Module) -> int | None:
    """Pixels of the input from one cell of the model's last map to the next, as timm states them; None if it does not.

    For a plain vision transformer it is the side of a patch.
    """
    info = getattr(model, "feature_info", None)
    return int(info[-1]["reduction"]) if isinstance(info, list) and info else None


def _stay_in_evaluation(self: nn.Module, *_: bool) -> nn.Module:
    return self
