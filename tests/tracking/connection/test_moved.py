import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from protoquant.tracking.connection.moved import follow_move, place_of


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Addresses of a project that lay in /old/my birds, one of another store, and one run whose files are beside."""
    (tmp_path / "mlruns" / "r1").mkdir(parents=True)
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as tables, tables:
        tables.execute("CREATE TABLE experiments (artifact_location TEXT)")
        tables.execute("CREATE TABLE runs (artifact_uri TEXT)")
        tables.execute("INSERT INTO experiments VALUES ('file:///old/my%20birds/mlruns'), ('s3://bucket/mlruns')")
        tables.execute("INSERT INTO runs VALUES ('file:///old/my%20birds/mlruns/r1'), (NULL)")
    return file


def addresses(file: Path) -> list[str | None]:
    with closing(sqlite3.connect(file)) as tables:
        query = "SELECT artifact_location FROM experiments UNION ALL SELECT artifact_uri FROM runs"
        return [text for (text,) in tables.execute(query)]


def test_addresses_follow_the_files(database: Path) -> None:
    files = database.parent / "mlruns"
    assert follow_move(database, files) == 2
    assert addresses(database) == [files.as_uri(), "s3://bucket/mlruns", f"{files.as_uri()}/r1", None]
    assert follow_move(database, files) == 0


def test_addresses_stay_where_the_files_are_elsewhere(database: Path) -> None:
    before = addresses(database)
    (database.parent / "mlruns" / "r1").rmdir()
    assert follow_move(database, database.parent / "mlruns") == 0
    assert addresses(database) == before


def test_a_copy_keeps_to_the_files_of_its_original(tmp_path: Path) -> None:
    original, copied = (tmp_path / name / "mlruns" / "r1" for name in "ab")
    for folder in (original, copied):
        folder.mkdir(parents=True)
    assert place_of(original.as_uri(), copied.parent) == original
    original.rmdir()
    assert place_of(original.as_uri(), copied.parent) == copied
    assert place_of("s3://bucket/mlruns/r1", tmp_path) is None
    assert place_of("file://host/mlruns/r1", tmp_path) is None


def test_a_new_project_in_the_former_place_changes_nothing(database: Path, tmp_path: Path) -> None:
    former = tmp_path / "former" / "mlruns"
    former.mkdir(parents=True)
    with closing(sqlite3.connect(database)) as tables, tables:
        tables.execute("UPDATE experiments SET artifact_location = ?", (former.as_uri(),))
        tables.execute("UPDATE runs SET artifact_uri = ?", (f"{former.as_uri()}/r1",))
    files = database.parent / "mlruns"
    assert follow_move(database, files) == 4
    assert set(addresses(database)) == {files.as_uri(), f"{files.as_uri()}/r1"}


def test_what_is_no_database_is_left_to_mlflow(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    assert follow_move(tmp_path / "mlflow.db", tmp_path / "mlruns") == 0
