from pathlib import Path

import pytest

from protoquant.core.artifacts import writing
from protoquant.core.errors import UsageError
from protoquant.core.result_folder import check_out


def test_a_new_an_empty_and_an_older_folder_of_the_kind_may_be_written(tmp_path: Path) -> None:
    check_out(tmp_path / "new", "drift")
    (tmp_path / "empty").mkdir()
    check_out(tmp_path / "empty", "drift")
    with writing(tmp_path / "old", "drift"):
        pass
    check_out(tmp_path / "old", "drift")
    with pytest.raises(UsageError, match=r"^--out: .*old.* choose another folder$"):
        check_out(tmp_path / "old", "doctor")


def test_what_holds_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"file is a file; choose a new folder, or that of an older result$"):
        check_out(tmp_path / "file", "drift")
    with pytest.raises(UsageError, match="holds other things"):
        check_out(tmp_path, "drift")
