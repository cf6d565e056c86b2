import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from protoquant.cli.main import app
from tests.export.conftest import Exported

pytestmark = pytest.mark.model

run = CliRunner().invoke


@pytest.mark.usefixtures("fast")
def test_export_tells_differences_latencies_and_sizes(exported: Exported, tmp_path: Path) -> None:
    out = tmp_path / "export"
    words = ["export", "-m", str(exported.model.bundle.path), "--out", str(out)]
    done = run(app, words)
    assert done.exit_code == 0, done.output
    for word in ("ProtoQuant", "onnx", "torch", "milliseconds", str(out)):
        assert word in done.output
    again = run(app, [*words, "--format", "onnx", "--json"])
    told = json.loads(again.stdout)
    assert set(told["parity"]) == {"onnx"}
    assert told["parity"]["onnx"]["other_labels"] == 0
    assert told["bytes"] == {"model.onnx": (out / "model.onnx").stat().st_size}
    assert set(told["milliseconds"]) == {"model", "onnx"}
    assert not (out / "model.pt2").exists()


def test_a_folder_that_is_no_export_is_not_replaced(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for out in (tmp_path, exported.model.bundle.path, tmp_path / "thesis.tex"):
        done = run(app, ["export", "-m", str(exported.model.bundle.path), "--out", str(out)])
        assert done.exit_code == 2
        assert "is no export and would be replaced" in done.output
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_verify_reads_bundles_and_exports(exported: Exported, tmp_path: Path) -> None:
    for path in (exported.folder, exported.model.bundle.path):
        done = run(app, ["verify", str(path)])
        assert done.exit_code == 0, done.output
        assert "is whole: 3 classes, 5 prototypes" in done.output
    folder = tmp_path / "export"
    shutil.copytree(exported.folder, folder)
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "model.onnx").write_bytes(data)
    done = run(app, ["verify", str(folder)])
    assert done.exit_code == 1
    assert "model.onnx is damaged" in done.output
    assert run(app, ["verify", str(tmp_path / "nowhere")]).exit_code == 1
