"""The frozen backbone, which maps images to patch tokens and patch tokens to its own logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from protoquant.core.errors import ArtifactError, ConfigError, ShapeError
from protoquant.core.events import OnEvent, ignore
from protoquant.core.seeding import torch_generator
from protoquant.features.backbone.build import build_model, check_name, create, freeze, preprocessing_of, viewed
from protoquant.features.backbone.fitting import classifiers
from protoquant.features.backbone.input_size import asked_size, check_grid
from protoquant.features.backbone.layers import LayerShape, intermediate_maps, layer_positions, layer_shapes
from protoquant.features.backbone.layout import Layout, read_layout
from protoquant.features.backbone.overlap import overlap
from protoquant.features.backbone.spec import BackboneSpec, WeightsSpec
from protoquant.features.backbone.weights import state_digest
from protoquant.features.config import ExtractConfig
from protoquant.features.tokens import LayeredTokens, PatchTokens, finest, maps_of

_PROBE_IMAGES = 2
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FeatureMap:
    """The features of images.

    Attributes:
        tokens: Patch tokens, row by row: those before pooling (n, t, d), or those of several layers.
        prefix: Class and register tokens in front of the last layer's (n, p, d); None where the backbone has none.
        grid: (h, w) of the finest layer, in cells.
    """

    tokens: PatchTokens
    prefix: Float[Tensor, "n p d"] | None
    grid: tuple[int, int]


@dataclass(frozen=True)
class Backbone:
    """A timm model that is never trained; ``load`` is the way to get one.

    Attributes:
        spec: Name, weights and preprocessing.
        device: Where the model is.
        model: The timm model with its own classifier.
        layout: Layout of the model's last tensor before pooling.
        shapes: The layers that are the features, in the order of the network.
        classes: Number of outputs of the model's own classifier.
    """

    spec: BackboneSpec
    device: torch.device
    model: nn.Module
    layout: Layout
    shapes: tuple[LayerShape, ...]
    classes: int

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the finest layer, in cells."""
        return finest([shape.grid for shape in self.shapes])

    @property
    def d(self) -> int:
        """Dimension of a patch token, over all layers."""
        return sum(shape.d for shape in self.shapes)

    @property
    def prefix(self) -> int:
        """Number of tokens in front of the patch tokens."""
        return self.layout.prefix

    @cached_property
    def token_digest(self) -> str:
        """Digest of the weights that make tokens: all but the classifier's."""
        names = tuple(f"{name}." for name in classifiers(self.model.pretrained_cfg))  # type: ignore[arg-type]
        return state_digest(one for one in self.model.state_dict().items() if not one[0].startswith(names))

    @classmethod
    def load(
        cls,
        source: ExtractConfig | BackboneSpec,
        device: torch.device | str,
        weights_file: Path | None = None,
        on_event: OnEvent = ignore,
    ) -> Backbone:
        """Build the backbone, load its weights, freeze it, and check that its tokens lead to its own logits.

        Args:
            source: A params section, or the spec in an artifact; the weights must then match the spec's digest.
            device: Device to compute on.
            weights_file: A checkpoint to read instead of the stated source.
            on_event: Receives what was chosen and changed between a checkpoint and the model.

        Raises:
            ConfigError: The model is unknown or its features cannot be read as a grid of patch tokens.
            UsageError: The weights are not available. ArtifactError: They do not fit or differ from the spec's.
        """
        place = torch.device(device)
        if isinstance(source, ExtractConfig):
            name, size, layers = source.backbone, asked_size(source), source.layers
            given = WeightsSpec.asked(source)
        else:
            name, size, layers = source.name, source.preprocessing.crop, source.layers
            given = source.weights
        file = weights_file or (None if given.file is None else Path(given.file))
        read = "file" if weights_file else given.source
        model, preprocessing = build_model(
            name, read, file, size, source.output_stride, entry=given.entry, on_event=on_event
        )
        digest = state_digest(model.state_dict().items())
        if isinstance(source, BackboneSpec):
            if digest != source.weights.digest:
                raise ArtifactError(
                    f"the weights of {name} are not those that made the features: expected digest "
                    f"{source.weights.digest[:12]}, got {digest[:12]}; give the weights of that time"
                )
            preprocessing = source.preprocessing
        else:
            preprocessing = viewed(preprocessing, source.view)
        weights = replace(given, digest=digest)
        spec = BackboneSpec(name, weights, preprocessing, layers, source.output_stride, source.patch_stride)
        backbone = cls._proven(spec, model, place)
        if isinstance(source, ExtractConfig):
            check_grid(source, backbone.layout.grid)
        return backbone

    @classmethod
    def untrained(cls, config: ExtractConfig, device: torch.device | str) -> Backbone:
        """Build the backbone with random weights, for plans: same shapes and speed, and no download.

        Args:
            config: Gives name, input size, view and strides.
            device: Device to compute on.

        Raises:
            ConfigError: As for ``load``.
        """
        check_name(config.backbone)
        size = asked_size(config)
        model = freeze(create(config.backbone, pretrained=False, input_size=size, output_stride=config.output_stride))
        spec = BackboneSpec(
            config.backbone,
            WeightsSpec("file", "0" * 64, None),
            viewed(preprocessing_of(model, config.weights, size), config.view),
            config.layers,
            config.output_stride,
            config.patch_stride,
        )
        backbone = cls._proven(spec, model, torch.device(device))
        check_grid(config, backbone.layout.grid)
        return backbone

    @classmethod
    def _proven(cls, spec: BackboneSpec, model: nn.Module, device: torch.device) -> Backbone:
        """Let patches overlap, read the layout from a probe batch, check that tokens lead back to the logits."""
        if spec.patch_stride is not None:
            overlap(model, spec.patch_stride, spec.preprocessing.crop)
        model = model.to(device).to(memory_format=torch.channels_last)
        positions = layer_positions(model, spec.name, spec.layers)
        generator = torch_generator(0, "backbone probe")
        images = torch.randn((_PROBE_IMAGES, 3, *spec.preprocessing.crop), generator=generator)
        images = images.to(device=device, memory_format=torch.channels_last)
        with torch.inference_mode():
            layout = read_layout(model, images, spec.name)
            maps = intermediate_maps(model, images, positions)[1] if positions else []
            expected = model(images)
        if not bool(torch.isfinite(expected).all()):
            raise ArtifactError(f"the weights of {spec.name} give logits that are not finite; give other weights")
        shapes = layer_shapes(spec.name, spec.layers, maps, layout)
        backbone = cls(spec, device, model, layout, shapes, int(expected.shape[-1]))
        worst = float((backbone.logits(backbone.features(images)) - expected).abs().max())
        if not worst <= _TOLERANCE * max(1.0, float(expected.abs().max())):
            raise ConfigError(
                f"extract.backbone: the patch tokens of {spec.name} do not lead to its own logits "
                f"(largest difference {worst:.3g}); choose another model"
            )
        return backbone

    @torch.inference_mode()
    def features(self, images: Float[Tensor, "n 3 h w"]) -> FeatureMap:
        """Compute patch tokens.

        Args:
            images: Normalised images of the crop's size on the backbone's device; see ``batch`` and ``normalise``.

        Raises:
            ShapeError: The images are not of the crop's size.
        """
        if tuple(images.shape[1:]) != (3, *self.spec.preprocessing.crop):
            wanted = (3, *self.spec.preprocessing.crop)
            raise ShapeError(f"{self.spec.name} takes images {wanted}, got {tuple(images.shape[1:])}; use batch()")
        positions = layer_positions(self.model, self.spec.name, self.spec.layers)
        if positions:
            raw, maps = intermediate_maps(self.model, images, positions)
        else:
            raw, maps = self.model.forward_features(images), []  # type: ignore[operator]
        last, prefix = self._split(raw)
        if not maps:
            return FeatureMap(last, prefix, self.grid)
        tokens = (*(of_layer.permute(0, 2, 3, 1).flatten(1, 2) for of_layer in maps), last)
        grids = tuple(shape.grid for shape in self.shapes)
        return FeatureMap(LayeredTokens(tokens, grids, self.spec.layers), prefix, self.grid)

    def _split(self, raw: Tensor) -> tuple[Float[Tensor, "n t d"], Float[Tensor, "n p d"] | None]:
        """Patch tokens and prefix tokens of the last layer."""
        if self.layout.axes == "NCHW":
            raw = raw.permute(0, 2, 3, 1)
        tokens = raw.reshape(len(raw), -1, self.layout.d)
        return tokens[:, self.prefix :], tokens[:, : self.prefix] if self.prefix else None

    @torch.inference_mode()
    def logits(self, feature_map: FeatureMap) -> Float[Tensor, "n c"]:
        """Finish the backbone's own forward pass.

        Args:
            feature_map: A result of ``features``; its tokens may have been changed. Of several layers the last counts.

        Raises:
            ShapeError: The tokens are not on the backbone's grid or the prefix tokens are missing.
        """
        tokens = maps_of(feature_map.tokens)[-1]
        n, t, d = tokens.shape
        given = 0 if feature_map.prefix is None else feature_map.prefix.shape[1]
        (rows, cols), own = self.layout.grid, self.layout.d
        if feature_map.grid != self.grid or t != rows * cols or d != own or given != self.prefix:
            raise ShapeError(
                f"{self.spec.name} needs tokens (n, {rows * cols}, {own}) and {self.prefix} prefix tokens, "
                f"got ({n}, {t}, {d}) and {given}"
            )
        raw = tokens
        if feature_map.prefix is not None:
            raw = torch.cat([feature_map.prefix, raw], dim=1)
        if self.layout.axes != "NLC":
            raw = raw.reshape(n, rows, cols, d)
        if self.layout.axes == "NCHW":
            raw = raw.permute(0, 3, 1, 2)
        logits: Tensor = self.model.forward_head(raw)  # type: ignore[operator]
        return logits

    def transform(self, image: Image.Image) -> UInt8[Tensor, "h w 3"]:
        """Resize and crop one RGB image to the backbone's view, as bytes."""
        return torch.from_numpy(np.array(self.spec.preprocessing.apply(image)))

    def normalise(self, pixels: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
        """Turn transformed images into the backbone's input, on its device."""
        n, h, w, c = pixels.shape
        scale = self.spec.preprocessing
        # The constants are repeated over whole rows: over an innermost axis of three, numbers are computed one by one.
        mean = (torch.tensor(scale.mean, device=self.device) * 255).repeat(w)
        std = (torch.tensor(scale.std, device=self.device) * 255).repeat(w)
        rows = pixels.to(self.device, torch.float32).reshape(n, h, w * c).sub_(mean).div_(std)
        return rows.reshape(n, h, w, c).permute(0, 3, 1, 2)

    def batch(self, images: Sequence[Image.Image]) -> Float[Tensor, "n 3 h w"]:
        """Transform and normalise RGB images."""
        return self.normalise(torch.stack([self.transform(image) for image in images]))

    def state_digest(self) -> str:
        """Digest of all parameters and buffers, which changes when any of them does."""
        return state_digest([*self.model.named_parameters(), *self.model.named_buffers()])
