"""The index of a mirror: whole, or in the middle of a change, and never half believed."""

from pathlib import Path

import pytest

from protoquant.storage.index import Index, IndexEntry

ONE, TWO = IndexEntry("e1", 3, "a" * 64, 1), IndexEntry("e2", 4, "b" * 64, 2)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path)


def test_a_change_is_unfinished_from_its_first_line_to_its_end(index: Index) -> None:
    assert not index.complete
    index.begin()
    index.finish({"a": ONE})
    assert index.complete
    index.begin()
    assert not index.complete
    index.record("b", TWO)
    assert index.load() == {"a": ONE, "b": TWO}
    index.finish({"b": TWO})
    assert index.complete
    assert index.load() == {"b": TWO}


def test_an_end_that_is_cut_off_forgets_nothing(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.finish({"a": ONE})
    index.begin()
    index.record("b", TWO)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            index.finish({"a": ONE, "b": TWO})
    assert not index.complete
    assert index.load() == {"a": ONE, "b": TWO}


def test_a_line_that_was_cut_off_does_not_spoil_the_next(index: Index, tmp_path: Path) -> None:
    index.begin()
    index.record("a", ONE)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('["b", ["e2", 4')
    index.begin()
    index.record("c", TWO)
    assert index.load() == {"a": ONE, "c": TWO}


def test_an_index_of_another_schema_is_not_known(index: Index, tmp_path: Path) -> None:
    index.finish({"a": ONE})
    file = tmp_path / "index.json"
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 2'))
    assert index.load() == {}
