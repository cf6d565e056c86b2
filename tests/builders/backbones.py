"""Small timm models, each of another shape of features, and their random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from protoquant.features.backbone.backbone import Backbone
from protoquant.features.config import ExtractConfig
from tests.builders.specs import HALF


def _cfg():
    return {
        "url": "",
        "num_classes": 10,
        "input_size": (3, 64, 64),
        "fixed_input_size": True,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": HALF,
        "std": HALF,
    }


default_cfgs = generate_default_cfgs(
    {"tiny_swin.none": _cfg(), "tiny_reg_vit.none": _cfg(), "tiny_window.none": _cfg()}
)


@register_model
def tiny_swin(pretrained=False, **kwargs):
    shape = {"patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 4)}
    return build_model_with_cfg(SwinTransformer, "tiny_swin", pretrained, **(shape | kwargs))


@register_model
def tiny_reg_vit(pretrained=False, **kwargs):
    shape = {"patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "reg_tokens": 4}
    return build_model_with_cfg(VisionTransformer, "tiny_reg_vit", pretrained, **(shape | kwargs))


class Window(VisionTransformer):
    """A patch embedding that sees the pixels of one patch, the second of the second row, and nothing else."""

    def forward_features(self, x, **kwargs):
        seen = torch.zeros_like(x)
        seen[..., 16:32, 16:32] = x[..., 16:32, 16:32]
        return super().forward_features(seen, **kwargs)


@register_model
def tiny_window(pretrained=False, **kwargs):
    shape = {"patch_size": 16, "embed_dim": 32, "depth": 0, "num_heads": 2, "class_token": False, "global_pool": "avg"}
    return build_model_with_cfg(Window, "tiny_window", pretrained, **(shape | kwargs))


def write_weights(folder: Path, name: str = "test_convnext", *, seed: int = 0, **options: Any) -> Path:
    """Random weights, the same for a seed, in a file named like the model."""
    torch.manual_seed(seed)
    file = folder / f"{name}.safetensors"
    save_file(timm.create_model(name, **options).state_dict(), file)
    return file


def load_backbone(folder: Path, name: str = "test_convnext", **values: Any) -> Backbone:
    """A model with random weights in a file of the folder."""
    weights = write_weights(folder, name)
    return Backbone.load(ExtractConfig(backbone=name, weights="file", weights_file=str(weights), **values), "cpu")


@dataclass(frozen=True)
class Case:
    """A model and what its features must look like."""

    name: str
    size: tuple[int, int] | None
    axes: str
    grid: tuple[int, int]
    d: int
    prefix: int

    def config(self, folder: Path, **changes) -> ExtractConfig:
        """Write random weights and name them in a params section."""
        options = {"img_size": self.size} if self.size and ("vit" in self.name or "swin" in self.name) else {}
        file = write_weights(folder, self.name, **options)
        values = {"backbone": self.name, "weights": "file", "weights_file": str(file), "input_size": self.size}
        return ExtractConfig(**(values | changes))


CASES = [
    Case("test_vit", None, "NLC", (10, 10), 64, 1),
    Case("test_vit2", None, "NLC", (10, 10), 64, 1),
    Case("test_convnext", None, "NCHW", (5, 5), 64, 0),
    Case("test_resnet", None, "NCHW", (5, 5), 96, 0),
    Case("tiny_swin", None, "NHWC", (8, 8), 32, 0),
    Case("tiny_reg_vit", None, "NLC", (4, 4), 32, 5),
    Case("test_resnet", (64, 96), "NCHW", (2, 3), 96, 0),
    Case("tiny_reg_vit", (48, 80), "NLC", (3, 5), 32, 5),
    Case("tiny_swin", (32, 64), "NHWC", (4, 8), 32, 0),
]
NAMES = [f"{case.name}-{case.grid[0]}x{case.grid[1]}" for case in CASES]
RESNET = CASES[6]
