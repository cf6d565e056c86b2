"""Write the model as one ONNX file, and run that file on the CPU."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from protoquant.core.errors import UsageError
from protoquant.export.outputs import AXES, INPUT, OUTPUTS, Outputs, Run

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPSET = 18
_LARGEST = 2**31 - 1
"""Bytes that one protobuf file can hold."""


def write_onnx(program: ExportedProgram, file: Path) -> None:
    """Translate a trace to ONNX; the same trace gives the same bytes.

    The paths of local files, which the translation records at every node, are removed.

    Args:
        program: A program from :func:`protoquant.export.program.trace`.
        file: The file to write; it includes the weights.

    Raises:
        UsageError: The weights are more than one ONNX file can hold, or the packages for ONNX are missing.
    """
    import torch

    _check_installed("onnx", "onnxscript", "onnxruntime")
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > _LARGEST:
        raise UsageError(
            f"an ONNX file holds at most 2 GiB, the weights of this model are {size / 2**30:.1f} GiB; "
            "export with --format torch"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        translated = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            verbose=False,
        )
    proto = cast("Any", translated).model_proto
    _forget(proto.graph)
    del proto.metadata_props[:]
    _name_axes(proto.graph)
    file.write_bytes(proto.SerializeToString(deterministic=True))


def _forget(graph: Any) -> None:
    """Remove the records of how a graph and its subgraphs were made."""
    del graph.metadata_props[:], graph.value_info[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget(attribute.g)


def _name_axes(graph: Any) -> None:
    """Give the dynamic axes their names, since the trace only numbers them."""
    dims = graph.input[0].type.tensor_type.shape.dim
    names = {dim.dim_param: name for dim, name in zip(dims, AXES, strict=False)}
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, dim.dim_param)


def open_onnx(file: Path) -> Run:
    """Read an ONNX file as a function that runs one batch of images on the CPU.

    Raises:
        UsageError: onnxruntime is missing.
    """
    _check_installed("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> Outputs:
        return Outputs(*session.run(list(OUTPUTS), {INPUT: images}))

    return run


def _check_installed(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"ONNX needs {' and '.join(missing)}: pip install 'protoquant[export]', or take --format torch"
        )
