"""Checkpoints as training scripts write them: by timm's own saver, of a small model after a step of training."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn


def trained(folder: Path, name: str = "test_resnet", *, ema: bool = True, seed: int = 0, **options: Any) -> Path:
    """``last.pth.tar`` of timm's training script: weights, their running mean, optimizer and arguments."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **options)
    mean = ModelEmaV3(model, decay=0.5) if ema else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    if mean is not None:
        mean.update(model)
    args = Namespace(model=name, lr=0.1, img_size=None, mean=(0.5, 0.5, 0.5), device="cpu")
    CheckpointSaver(model, optimizer, args, mean, checkpoint_dir=str(folder)).save_checkpoint(0, metric=71.5)
    return folder / "last.pth.tar"


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a model's tensors by name."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
