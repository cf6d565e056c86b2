"""Finished images are computed once; those of another model, value or code are gone."""

from pathlib import Path

import pytest

from protoquant.evaluation.finished import FinishedImages

ROWS = [{"image_id": "a/ü.png", "mode": "pgd", "pac": 0.1 + 0.2, "right_before": 1}]


def refuse() -> list[dict[str, object]]:
    raise AssertionError("computed again")


def test_an_image_is_computed_once_and_keeps_its_bits(tmp_path: Path) -> None:
    finished = FinishedImages.beside(tmp_path / "bundle", "attack", {"seed": 0})
    assert finished.rows("a/ü.png", lambda: ROWS) == ROWS
    again = FinishedImages.beside(tmp_path / "bundle", "attack", {"seed": 0})
    assert again.rows("a/ü.png", refuse) == ROWS
    assert again.rows("b.png", list) == []
    assert again.rows("b.png", refuse) == []


def test_an_interrupted_image_leaves_nothing(tmp_path: Path) -> None:
    finished = FinishedImages.beside(tmp_path / "bundle", "attack", {"seed": 0})
    with pytest.raises(AssertionError, match="computed again"):
        finished.rows("a.png", refuse)
    assert finished.rows("a.png", lambda: ROWS) == ROWS
    assert [file.suffix for file in finished.folder.iterdir()] == [".json"]


def test_another_key_starts_anew_and_removes_the_old_one(tmp_path: Path) -> None:
    one = FinishedImages.beside(tmp_path / "bundle", "attack", {"seed": 0})
    one.rows("a.png", lambda: ROWS)
    other = FinishedImages.beside(tmp_path / "bundle", "attack", {"seed": 1})
    assert other.rows("a.png", list) == []
    assert not one.folder.exists()
