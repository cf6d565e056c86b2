import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from protoquant.core.errors import ArtifactError, DataError
from protoquant.core.events import ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.images import open_image
from protoquant.data.prepare import prepare
from protoquant.data.readers import partbirds
from protoquant.data.readers.listing import Listing
from protoquant.data.splits import SPLITS
from protoquant.data.table import DTYPES, ImageTable

CONFIG = PrepareConfig(reader="image_folder", root="data")


@pytest.fixture
def prepared(tmp_path: Path, fill: Callable[..., None]) -> tuple[Path, Path]:
    root, out = tmp_path / "data", tmp_path / "artifacts" / "images"
    fill(root / "cat", 6, 0)
    fill(root / "dog", 6, 100)
    prepare(CONFIG, root=root, out=out, parts=out.parent / "parts", seed=0, on_event=ignore)
    return out, root


def test_the_whole_table_is_the_sum_of_its_splits(prepared: tuple[Path, Path]) -> None:
    table = ImageTable.open(*prepared)
    assert table.classes == ("cat", "dog")
    assert {name: str(dtype) for name, dtype in table.frame.dtypes.items()} == DTYPES
    assert len(table) == 12 == sum(len(table.split(name)) for name in SPLITS)
    assert table.frame.equals(table.frame.sort_values(["split", "image_id"], ignore_index=True))
    for name in SPLITS:
        part = table.split(name).frame
        assert set(part["split"]) == {name}
        assert part.equals(table.frame[table.frame["split"] == name].reset_index(drop=True))


def test_paths_lead_to_the_files_of_the_root(prepared: tuple[Path, Path]) -> None:
    images, root = prepared
    table = ImageTable.open(images, root)
    for image_id, label in zip(table.frame["image_id"], table.frame["label"], strict=True):
        assert table.path(image_id) == root / image_id
        assert image_id.startswith(f"{table.classes[label]}/")
        assert open_image(table.path(image_id)).size == (48, 40)


def test_a_split_is_read_without_the_others(prepared: tuple[Path, Path]) -> None:
    images, root = prepared
    shutil.rmtree(images / "test")
    table = ImageTable.open(images, root)
    train = table.split("train")
    assert set(train.frame["split"]) == {"train"}
    assert train.path("cat/0.png") == root / "cat/0.png"
    with pytest.raises(ArtifactError, match=r"no images at .*test"):
        _ = table.frame


def test_a_changed_byte_is_found(prepared: tuple[Path, Path]) -> None:
    images, root = prepared
    path = images / "train" / "images.parquet"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"train/images\.parquet is damaged"):
        _ = ImageTable.open(images, root).split("train").frame


def test_a_missing_artifact_and_an_unknown_split(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no images at .*absent: classes\.json is missing; run the stage"):
        ImageTable.open(tmp_path / "absent", tmp_path)
    with pytest.raises(
        DataError, match=r"unknown split 'trian'; did you mean 'train'\?; splits: train, validation, test"
    ):
        ImageTable.open(*prepared).split("trian")


def test_drawn_images_lie_in_the_part_of_their_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Callable[..., Image.Image]
) -> None:
    import pandas as pd

    def draw(root: Path, *, into: Path, **_: object) -> Listing:
        rows = [(f"{split}/{name}/0.png", name, split) for split in SPLITS for name in ("cat", "dog")]
        for number, (path, _, _) in enumerate(rows):
            (into / path).parent.mkdir(parents=True)
            photo(number).save(into / path)
        return Listing(pd.DataFrame(rows, columns=["path", "class_name", "split"]), into)

    monkeypatch.setattr(partbirds, "read", draw)
    out = tmp_path / "images"
    prepare(PrepareConfig(), root=tmp_path / "spec.yaml", out=out, parts=out.parent / "parts", seed=0, on_event=ignore)
    assert not (out / "drawn").exists()
    table = ImageTable.open(out, tmp_path / "spec.yaml").split("train")
    assert table.path("train/cat/0.png") == out / "train/cat/0.png"
    assert open_image(table.path("train/cat/0.png")).size == (48, 40)


def test_class_names_that_are_not_those_of_the_split_are_refused(tmp_path):
    from protoquant.core.artifacts import digest_json, write_json, writing
    from protoquant.core.errors import ArtifactError
    from protoquant.data.table import ImageTable

    with writing(tmp_path / "images", "images") as folder:
        write_json(folder / "classes.json", ["b", "a"])
        with writing(folder / "train", "images", drawn=False, classes=digest_json(["a", "b"])):
            pass
    with pytest.raises(ArtifactError, match=r"classes\.json is damaged: it names other classes than the split"):
        _ = ImageTable.open(tmp_path / "images", tmp_path).split("train").classes


def test_an_image_that_changed_since_prepare_is_named(prepared: tuple[Path, Path], photo: Callable[..., Image.Image]):
    table = ImageTable.open(*prepared).split("train")
    image_id = table.frame["image_id"][0]
    assert table.image(image_id).size == (48, 40)
    photo(999).save(table.path(image_id))
    with pytest.raises(DataError, match=rf"^{image_id} changed since prepare: its digest differs .*; run the pipeline"):
        table.image(image_id)
