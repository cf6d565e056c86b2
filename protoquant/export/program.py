"""Trace the model with torch.export, and write and read the trace as a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from protoquant.core.errors import ConfigError
from protoquant.export.module import Exportable
from protoquant.export.outputs import AXES, Outputs, Run
from protoquant.model.classifier import Model

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_EXAMPLE = (2, 73, 91, 3)
"""Sizes of the traced example; none is 1 and no two are equal, so that the trace ties none to another."""


def trace(model: Model) -> ExportedProgram:
    """Trace a model for images of any number, height and width.

    Args:
        model: The model; it is only read.

    Raises:
        ConfigError: The backbone cannot be traced.
    """
    from torch.export import Dim, export

    images = torch.zeros(_EXAMPLE, dtype=torch.uint8)
    axes = {place: Dim(name, min=1) for place, name in enumerate(AXES)}
    try:
        with torch.no_grad():
            program = export(Exportable(model), (images,), dynamic_shapes=(axes,), strict=False)
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:  # noqa: SLF001 (no public name)
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"extract.backbone: {model.bundle.backbone.name} cannot be traced ({reason}); choose another model"
        ) from error
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            node.meta.pop("stack_trace", None)  # it holds local paths
    return program


def write_program(program: ExportedProgram, file: Path) -> None:
    """Save a trace; the same trace gives the same bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, file)


def open_program(file: Path) -> Run:
    """Read a trace as a function that runs one batch of images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.load(file).module()

    def run(images: np.ndarray) -> Outputs:
        with torch.no_grad():
            return Outputs(*(part.numpy() for part in module(torch.tensor(images))))

    return run
