import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from protoquant.core.errors import UsageError
from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.export_split import export_split
from protoquant.data.prepare import prepare
from protoquant.data.table import ImageTable

Fill = Callable[..., None]


def prepared(root: Path, **values: object) -> Path:
    config = PrepareConfig.model_validate({"reader": "image_folder", "root": "data", **values})
    out = root.parent / "images"
    prepare(config, root=root, out=out, parts=root.parent / "parts", seed=0, on_event=ignore)
    return out


@pytest.fixture
def root(tmp_path: Path, fill: Fill) -> Path:
    for number, name in enumerate(("cat", "dog")):
        fill(tmp_path / "data" / name / "old", 5, 100 * number)
        fill(tmp_path / "data" / name, 5, 100 * number + 50)
    return tmp_path / "data"


def test_every_image_of_train_and_validation_lies_in_the_folder_of_its_class_and_no_test_image(root: Path) -> None:
    images, out = prepared(root), root.parent / "out"
    counts = export_split(images, root, out)
    links = {path: path.readlink().relative_to(root).as_posix() for path in out.rglob("*.png")}
    for split, folder in (("train", "train"), ("validation", "val")):
        frame = ImageTable.open(images, root).split(split).frame
        there = {id_: path.relative_to(out).parts for path, id_ in links.items() if path.is_relative_to(out / folder)}
        assert {id_: parts[1] for id_, parts in there.items()} == dict(
            zip(frame["image_id"], frame["class_name"], strict=True)
        )
        assert counts[split] == len(frame) == len(there)
    assert len(links) == sum(counts.values()) == 16
    assert sorted(path.name for path in out.iterdir()) == ["train", "val"]


def test_images_in_an_archive_are_copied(tmp_path: Path, fill: Fill) -> None:
    source, root = tmp_path / "source", tmp_path / "data"
    fill(source, 10, 0)
    root.mkdir()
    with tarfile.open(root / "train.tar", "w") as archive:
        for number in range(10):
            archive.add(source / f"{number}.png", f"{number}.png")
            (source / "label").write_text(str(number % 2))
            archive.add(source / "label", f"{number}.cls")
    images = prepared(root, reader="webdataset")
    export_split(images, root, tmp_path / "out")
    copies = list((tmp_path / "out").rglob("*.png"))
    assert copies
    for path in copies:
        assert path.read_bytes() == (source / path.name.rpartition("__")[2]).read_bytes()


def test_a_folder_that_is_there_is_not_touched(root: Path) -> None:
    images, out = prepared(root), root.parent / "out"
    out.mkdir()
    with pytest.raises(UsageError, match=r"out is there already; name a new folder, or remove it first"):
        export_split(images, root, out)
    with pytest.raises(UsageError, match=r"there is no folder .*absent; make it first"):
        export_split(images, root, root / "absent" / "out")
    assert list(out.iterdir()) == []
