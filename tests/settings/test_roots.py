"""What is checked of ``prepare.root`` before any work."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from protoquant.core.errors import UsageError
from protoquant.core.workspace import Workspace
from protoquant.data.config import PrepareConfig
from protoquant.settings.roots import check_root


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"file": "imagez.csv"}, r"prepare\.table\.file: there is no imagez\.csv in photos \(params\.yaml\)"),
        ({"parts": "parts.csv"}, r"prepare\.table\.parts: there is no parts\.csv in photos \(params\.yaml\)"),
        (None, ""),
    ],
)
def test_tables_that_are_not_there_are_named(tmp_path: Path, table: dict[str, str] | None, said: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "images.csv").write_text("path,label\n")
    config = PrepareConfig.parse({"reader": "table", "root": "photos", "table": table})
    with pytest.raises(UsageError, match=said) if said else nullcontext():
        check_root(config, Workspace(tmp_path))
