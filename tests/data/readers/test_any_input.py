"""Whatever lies in a folder or stands in a table, a reader lists it or says in one line why not."""

import io
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.core.errors import ConfigError, ProtoQuantError
from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.readers.registry import reader
from protoquant.settings.settings import Settings

FOLDERS = st.sampled_from(
    [
        *("train", "Test", "valid", "val", "seg_train", "training_set", "siteA", "masks", "good", "ground_truth"),
        *("a", "b", "A", " a", "Ä", "A\u0308", "-x", "{b}", "%s", "[b]", "a\nb", "x" * 200, ".git", "@eaDir"),
    ]
)
FILES = st.sampled_from(
    [
        *("1.jpg", "2.PNG", "é.jpg", "e\u0301.jpg", "a b.webp", "a\n.jpg", ".jpg", "x", "notes.txt", "Thumbs.db"),
        *("list.csv", "images.txt", "image_class_labels.txt", "classes.json", "dataset_train.json", "train-0.tar"),
    ]
)
PATHS = st.tuples(st.lists(FOLDERS, max_size=3), FILES).map(lambda parts: "/".join([*parts[0], parts[1]]))
CELLS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["1.jpg", "a/1.jpg", "a\\1.jpg", "../1.jpg", "C:\\1.jpg", "/1.jpg", "a//1.jpg", "ä.jpg", "x" * 300]
    ),
    st.sampled_from(["train", "Testing", "dev", "none", "", " ", "\0", "\ufeff"]),
)
COLUMNS = st.sampled_from(["path", "label", "split", "file", "Path", "", " path", "label;split"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "root"


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def lay(root: Path, names: list[str]) -> None:
    """Write what can be: a name may be a folder and a file at once, or too long."""
    for name in names:
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        except OSError:
            continue


def outcome(name: str, root: Path, **values: object) -> None:
    """A listing that holds together, or one line."""
    config = PrepareConfig.parse({"reader": name, "root": str(root), **values})
    refused, listing = "", None
    try:
        listing = reader(name)(root, into=root.parent / "into", config=config, workers=1, on_event=ignore)
    except ProtoQuantError as error:
        refused = str(error)
    assert (listing is None) == bool(refused.strip())
    assert "\n" not in refused
    if listing is not None:
        assert listing.frame["path"].is_unique
        assert set(listing.frame["class_name"]) <= set(listing.class_names())
        assert not any("\n" in row.detail for row in listing.rejected)


@given(names=st.lists(PATHS, max_size=8), name=st.sampled_from(["image_folder", "webdataset", "cub", "funnybirds"]))
def test_any_tree(folder: Path, names: list[str], name: str) -> None:
    lay(fresh(folder), names)
    outcome(name, folder)


@given(
    names=st.lists(PATHS, max_size=8),
    splits=st.one_of(
        st.just("none"),
        st.dictionaries(st.sampled_from(["validation", "test"]), FOLDERS).map(lambda rest: {"train": "a", **rest}),
    ),
)
def test_any_tree_with_splits_that_are_given(folder: Path, names: list[str], splits: object) -> None:
    lay(fresh(folder), names)
    with suppress(ConfigError):  # two splits in one folder
        outcome("image_folder", folder, splits=splits)


@given(
    rows=st.tuples(st.lists(COLUMNS, max_size=4), st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=4)).map(
        lambda parts: [parts[0], *parts[1]]
    ),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    asked=st.sampled_from([",", ";"]),
    files=st.lists(PATHS, max_size=3),
)
def test_any_table(folder: Path, rows: list[list[str]], separator: str, asked: str, files: list[str]) -> None:
    lay(fresh(folder), files)
    text = "\r\n".join(separator.join(row) for row in rows)
    (folder / "images.csv").write_text(text, encoding="utf-8", errors="surrogatepass")
    outcome("table", folder, table={"separator": asked})


@given(data=st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(lambda end: b"path,label\n1.jpg," + end)))
def test_any_bytes_as_a_table(folder: Path, data: bytes) -> None:
    for name in ("images.csv", "images.parquet"):
        (fresh(folder) / name).write_bytes(data)
        outcome("table", folder, table={"file": name})


MEMBERS = st.sampled_from(
    ["a.jpg", "a.cls", "b.png", "b.json", "x/c.jpg", "x/c.cls", "../d.jpg", "/e.jpg", "a\\f.jpg", "cls"]
)
CONTENTS = st.one_of(
    st.binary(max_size=8), st.sampled_from([b"3", b"cat", b'{"label": 1}', b'{"label": []}', b"\xff", b""])
)


@given(
    members=st.lists(st.tuples(MEMBERS, CONTENTS), max_size=6), cut=st.integers(0, 3000), classes=st.binary(max_size=9)
)
def test_any_archive(folder: Path, members: list[tuple[str, bytes]], cut: int, classes: bytes) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (fresh(folder) / "train-0.tar").write_bytes(held.getvalue()[: cut or None])
    (folder / "classes.txt").write_bytes(classes)
    outcome("webdataset", folder)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
)


@given(
    values=st.dictionaries(
        st.sampled_from(
            ["seed", "threads", "prepare", "extract", "quantize", "train", "evaluate", "sweep", "gates", "x"]
        ),
        st.one_of(VALUES, st.dictionaries(st.sampled_from(["reader", "root", "splits", "size", "joint"]), VALUES)),
    )
)
def test_any_params(values: dict[str, object]) -> None:
    with suppress(ConfigError):
        Settings.parse(values)
