"""The step export, which writes the files and their card, checks parity and measures latency."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from protoquant.core.artifacts import write_json, writing
from protoquant.core.events import MessageEvent, OnEvent
from protoquant.export.card import CARD, KIND, ONNX, PROGRAM
from protoquant.export.golden import Golden, golden_images, natural_size
from protoquant.export.onnx import open_onnx, write_onnx
from protoquant.export.outputs import AXES, INPUT, OUTPUTS, Run
from protoquant.export.parity import ExportError, Parity, compare
from protoquant.export.program import open_program, trace, write_program
from protoquant.model.classifier import Model

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Format = Literal["onnx", "torch"]
FORMATS: tuple[Format, ...] = ("onnx", "torch")
_FILES: Mapping[Format, str] = {"onnx": ONNX, "torch": PROGRAM}
_WRITE: Mapping[Format, Callable[[ExportedProgram, Path], None]] = {"onnx": write_onnx, "torch": write_program}
_OPEN: Mapping[Format, Callable[[Path], Run]] = {"onnx": open_onnx, "torch": open_program}
_WARM, _RUNS = 2, 9
_HOLDS = (
    "class scores (n, c), float32, >= 0",
    "presence (n, p), float32, in [0, 1]",
    "row, col (n, p, 2), int64",
    "shares (n, p, h, w), float32, in [0, 1]",
)


@dataclass(frozen=True)
class ExportResult:
    """The result of an export.

    Attributes:
        out: The folder.
        sizes: Bytes of each file.
        parity: Differences from the model, by format.
        latency: Median seconds for one image, of ``model`` (a call of ``Model.predict``) and of each format.
        pixels: (height, width) of that image.
    """

    out: Path
    sizes: Mapping[str, int]
    parity: Mapping[Format, Parity]
    latency: Mapping[str, float]
    pixels: tuple[int, int]


def export(model: Model, *, out: Path, formats: Sequence[Format] = FORMATS, on_event: OnEvent) -> ExportResult:
    """Write a model as files that run without ProtoQuant, each checked against the model on the golden images.

    Args:
        model: The model, on any device; it is only read, and the files are for the CPU.
        out: The folder; an older one is replaced.
        formats: ``onnx``, ``torch`` (a program of ``torch.export``), or both.
        on_event: Receives messages about the tracing and the differences.

    Raises:
        ExportError: A file does not answer as the model does; nothing is written.
        ConfigError: The backbone cannot be traced.
        UsageError: The weights are too large for ONNX, or the packages for ONNX are missing.
        ArtifactError: The model's bundle has not been written.
    """
    bundle = model.bundle
    golden = golden_images(bundle)
    with writing(out, KIND, {"bundle": bundle.digest}) as folder:
        on_event(MessageEvent(f"tracing {bundle.backbone.name}"))
        program = trace(model)
        runs: dict[Format, Run] = {}
        parity: dict[Format, Parity] = {}
        for name in formats:
            runs[name] = _written(program, name, folder)
            parity[name] = compare(model, runs[name], golden)
            _refuse_or_tell(name, parity[name], on_event)
        write_json(folder / CARD, _card(model, {_FILES[name]: found.to_dict() for name, found in parity.items()}))
        sizes = {_FILES[name]: (folder / _FILES[name]).stat().st_size for name in formats}
    latency = _latency(model, runs, golden[-1])
    return ExportResult(out, sizes, parity, latency, natural_size(bundle.backbone.preprocessing))


def check_parity(model: Model) -> Parity:
    """Export a model as ONNX into a temporary folder and compare the two; differences are returned, not raised.

    Args:
        model: The model; it is only read.

    Raises:
        ConfigError: The backbone cannot be traced.
        UsageError: The weights are too large for ONNX, or the packages for ONNX are missing.
    """
    with tempfile.TemporaryDirectory(prefix="protoquant-") as folder:
        return compare(model, _written(trace(model), "onnx", Path(folder)), golden_images(model.bundle))


def _written(program: ExportedProgram, name: Format, folder: Path) -> Run:
    """Write one file and read it back as a user would."""
    _WRITE[name](program, folder / _FILES[name])
    return _OPEN[name](folder / _FILES[name])


def _refuse_or_tell(name: Format, found: Parity, on_event: OnEvent) -> None:
    if found.failure is not None:
        raise ExportError(f"{_FILES[name]} does not answer as the model: {found.failure}; nothing was written")
    on_event(
        MessageEvent(
            f"{_FILES[name]} on {found.images} golden images: logits differ by at most {found.logits:.2g}, presence by "
            f"{found.scores:.2g}, {found.other_labels} labels and {found.other_cells} cells differ"
        )
    )


def _card(model: Model, parity: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    bundle = model.bundle
    return {
        "classes": list(bundle.classes),
        "prototypes": bundle.prototypes.tolist(),
        "grid": list(bundle.grid),
        "temperature": bundle.temperature,
        "abstain_below": bundle.abstain_below,
        "at_least": bundle.backbone.preprocessing.at_least,
        "backbone": bundle.backbone.name,
        "bundle": bundle.digest,
        "input": {"name": INPUT, "type": "uint8", "axes": f"({', '.join(AXES)}, 3)", "colours": "upright RGB"},
        "outputs": dict(zip(OUTPUTS, _HOLDS, strict=True)),
        "parity": dict(parity),
    }


def _latency(model: Model, runs: Mapping[Format, Run], golden: Golden) -> dict[str, float]:
    """Median seconds for one image, of the model and of each file."""
    image = golden.images[:1]
    times = {"model": _median(lambda: model.predict([image[0]]))}
    for name, run in runs.items():
        times[name] = _median(lambda run=run: run(image))  # type: ignore[misc]
    return times


def _median(work: Callable[[], object]) -> float:
    for _ in range(_WARM):
        work()
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
