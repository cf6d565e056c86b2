"""What a trial said is read back as it was written."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import ArtifactError
from protoquant.sweep.points import SearchPoint
from protoquant.sweep.records import SweepFolder, TrialRecord


def record(changes: dict[str, object]) -> TrialRecord:
    return TrialRecord(SearchPoint(changes), 1, "done", "", 1.25, {"accuracy": 1 / 3}, ({"penalty": 0.1},))


@given(st.floats(0.02, 0.1), st.integers(1, 2**40))
def test_a_drawn_number_keeps_its_digits_so_that_the_record_is_that_of_its_folder(drawn: float, size: int) -> None:
    wanted = record({"train.temperature": drawn, "quantize.size": size})
    with TemporaryDirectory() as place:
        SweepFolder(Path(place)).write(wanted)
        (found,) = SweepFolder(Path(place)).records()
    assert found.point == wanted.point
    assert found.numbers == {"accuracy": round(1 / 3, 9)}


def test_a_record_of_another_trial_is_refused(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    folder.write(record({"quantize.size": 2}))
    (there,) = (tmp_path / "trials").iterdir()
    moved = there.rename(there.with_name("0" * 12))
    with pytest.raises(ArtifactError, match=rf"{moved} holds trial {there.name}; remove the folder"):
        folder.records()
    assert json.loads((moved / "trial.json").read_text())["changes"] == {"quantize.size": 2}


def test_trials_of_older_versions_count_by_validation(tmp_path: Path) -> None:
    old = {"validation_top1": 0.5, "n": 20}
    SweepFolder(tmp_path).write(TrialRecord(SearchPoint({"quantize.size": 2}), 1, "done", "", 1.0, old, (old,)))
    (found,) = SweepFolder(tmp_path).records()
    assert found.numbers["accuracy"] == found.path[0]["accuracy"] == 0.5
