import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from protoquant.core.artifacts import artifact_digest, open_artifact
from protoquant.core.errors import DataError
from protoquant.core.events import Event, MessageEvent, ProgressEvent, ignore
from protoquant.data.config import PrepareConfig
from protoquant.data.prepare import PrepareResult, prepare
from protoquant.data.splits import SPLITS
from protoquant.data.table import ImageTable, left_out_by_hand

Fill = Callable[..., None]
Photo = Callable[..., Image.Image]
FOLDER = PrepareConfig(reader="image_folder", root="data")


def run(root: Path, config: PrepareConfig = FOLDER, seed: int = 0, workers: int = 2) -> tuple[PrepareResult, Path]:
    out = root.parent / "artifacts" / "images"
    return prepare(
        config, root=root, out=out, parts=out.parent / "parts", seed=seed, on_event=ignore, workers=workers
    ), out


def quarantine(out: Path) -> dict[str, str]:
    frame = pd.read_parquet(out / "quarantine.parquet")
    assert list(frame.columns) == ["image_id", "reason", "detail"]
    return dict(zip(frame["image_id"], frame["reason"], strict=True))


def splits(root: Path, out: Path) -> dict[str, str]:
    frame = ImageTable.open(out, root).frame
    return dict(zip(frame["image_id"], frame["split"], strict=True))


@pytest.fixture
def root(tmp_path: Path, fill: Fill) -> Path:
    """Two classes of ten images without splits."""
    fill(tmp_path / "data" / "cat", 10, 0)
    fill(tmp_path / "data" / "dog", 10, 100)
    return tmp_path / "data"


def test_splits_are_cut_by_class(root: Path) -> None:
    result, out = run(root)
    assert result.images == {"train": 12, "validation": 4, "test": 4}
    assert (result.classes, result.quarantined) == (2, {})
    frame = ImageTable.open(out, root).frame
    counts = frame.groupby(["class_name", "split"]).size().to_dict()
    assert counts == {(name, split): 6 if split == "train" else 2 for name in ("cat", "dog") for split in SPLITS}
    assert json.loads((out / "classes.json").read_text()) == ["cat", "dog"]
    assert json.loads((out / "summary.json").read_text())["images"] == dict(result.images)
    assert open_artifact(out, "images").extra == {"reader": "image_folder"}


def test_the_bytes_depend_on_images_and_seed_alone(root: Path) -> None:
    _, out = run(root, workers=1)
    first = artifact_digest(out)
    for path in sorted(root.rglob("*.png"), reverse=True):
        os.utime(path, (0, 0))
        path.rename(path.with_suffix(".moved"))
        path.with_suffix(".moved").rename(path)
    _, out = run(root, workers=3)
    assert artifact_digest(out) == first
    moved = root.rename(root.parent / "elsewhere")
    assert artifact_digest(run(moved)[1]) == first
    assert artifact_digest(run(moved, seed=1)[1]) != first


def test_rows_come_by_id_whatever_the_order_of_the_classes(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "data" / "2", 4, 0)
    fill(tmp_path / "data" / "10", 4, 100)
    root = tmp_path / "data"
    _, out = run(root)
    assert ImageTable.open(out, root).classes == ("2", "10")
    for split in SPLITS:
        ids = ImageTable.open(out, root).split(split).frame["image_id"]
        assert [Path(image_id).parts[0] for image_id in ids[[0, len(ids) - 1]]] == ["10", "2"]
        assert list(ids) == sorted(ids)


def test_own_splits_stay_and_only_missing_ones_are_cut(tmp_path: Path, fill: Fill) -> None:
    root = tmp_path / "data"
    for number, folder in enumerate(["train/cat", "train/dog", "test/cat", "test/dog"]):
        fill(root / folder, 10, 100 * number)
    events: list[Event] = []
    result = prepare(
        FOLDER, root=root, out=tmp_path / "images", parts=tmp_path / "parts", seed=0, on_event=events.append
    )
    assert result.images == {"train": 16, "validation": 4, "test": 20}
    found = splits(root, tmp_path / "images")
    assert all(split == "test" for name, split in found.items() if name.startswith("test/"))
    assert all(split != "test" for name, split in found.items() if name.startswith("train/"))
    texts = [event.text for event in events if isinstance(event, MessageEvent)]
    assert texts[0] == "the data has its own test split; prepare.test_share is not used"
    assert texts[-1] == "40 images of 2 classes: 16 train, 4 validation, 20 test"


def test_a_class_too_small_to_share_is_said(root: Path, photo: Photo) -> None:
    (root / "eel").mkdir()
    photo(500).save(root / "eel" / "1.png")
    events: list[Event] = []
    prepare(FOLDER, root=root, out=root.parent / "images", parts=root.parent / "parts", seed=0, on_event=events.append)
    warnings = [event.text for event in events if isinstance(event, MessageEvent) and event.level == "warning"]
    assert warnings == [
        f"no {name} image of class 'eel': one image in train, which stays there; add images"
        for name in ("test", "validation")
    ]
    assert splits(root, root.parent / "images")["eel/1.png"] == "train"


def test_every_fault_is_listed_and_left_out(root: Path, photo: Photo) -> None:
    (root / "cat" / "0.png").write_bytes(b"")
    (root / "cat" / "1.png").write_bytes((root / "cat" / "1.png").read_bytes()[:-40])
    (root / "cat" / "2.png").write_text("not an image at all")
    photo(700, 31, 50).save(root / "cat" / "small.png")
    (root / "cat" / "twin.png").write_bytes((root / "cat" / "5.png").read_bytes())
    (root / "dog" / "cat.png").write_bytes((root / "cat" / "6.png").read_bytes())
    (root / "dog" / "notes.txt").write_text("x")
    photo(800).save(root / "loose.png")
    result, out = run(root)
    wanted = {
        "cat/0.png": "zero_bytes",
        "cat/1.png": "truncated",
        "cat/2.png": "not_an_image",
        "cat/small.png": "too_small",
        "cat/twin.png": "duplicate",
        "cat/6.png": "conflicting_labels",
        "dog/cat.png": "conflicting_labels",
        "dog/notes.txt": "not_an_image",
        "loose.png": "outside_class_folder",
    }
    assert quarantine(out) == wanted
    assert not wanted.keys() & splits(root, out).keys()
    assert sum(result.images.values()) == 10 + 10 - 3 - 1
    assert sum(result.quarantined.values()) == len(wanted)
    assert result.quarantined["conflicting_labels"] == 2


def test_a_leak_between_splits_goes_from_train(tmp_path: Path, fill: Fill) -> None:
    root = tmp_path / "data"
    for number, folder in enumerate(["train/cat", "train/dog", "val/cat", "val/dog", "test/cat", "test/dog"]):
        fill(root / folder, 4, 100 * number)
    Image.open(root / "test/cat/0.png").save(root / "train/cat/copy.bmp")
    Image.open(root / "test/cat/1.png").save(root / "val/cat/copy.bmp")
    Image.open(root / "val/dog/1.png").save(root / "train/dog/copy.bmp")
    result, out = run(root)
    assert quarantine(out) == dict.fromkeys(["train/cat/copy.bmp", "val/cat/copy.bmp", "train/dog/copy.bmp"], "leak")
    assert result.images == {"train": 8, "validation": 8, "test": 8}


def test_a_table_names_missing_files(tmp_path: Path, fill: Fill) -> None:
    root = tmp_path / "data"
    fill(root / "files", 12, 0)
    lines = [f"files/{number}.png,{'cat' if number % 2 else 'dog'}" for number in range(14)]
    (root / "images.csv").write_text("\n".join(["path,label", *lines]))
    result, out = run(root, PrepareConfig(reader="table", root="data"))
    assert quarantine(out) == {"files/12.png": "missing", "files/13.png": "missing"}
    assert sum(result.images.values()) == 12


def test_progress_counts_every_image(root: Path) -> None:
    events: list[Event] = []
    prepare(FOLDER, root=root, out=root.parent / "images", parts=root.parent / "parts", seed=0, on_event=events.append)
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert [event.done for event in progress] == list(range(21))
    assert {(event.label, event.total, event.unit) for event in progress} == {("check", 20, "images")}


def refused(root: Path, message: str, config: PrepareConfig = FOLDER) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(root, config)
    assert "\n" not in str(caught.value)
    artifacts = root.parent / "artifacts"
    assert not artifacts.exists() or list(artifacts.iterdir()) == []


def test_an_impossible_root_writes_nothing(tmp_path: Path, fill: Fill) -> None:
    refused(tmp_path / "absent", r"absent does not exist \(params\.yaml\); correct it")
    (tmp_path / "void").mkdir()
    refused(
        tmp_path / "void", r"no images under .*void; put them into class-named folders there, or correct prepare\.root"
    )
    fill(tmp_path / "one" / "cat", 3, 0)
    refused(tmp_path / "one", r"at least two classes are needed, .*one holds 1: cat; add a second class")


def test_a_root_that_is_one_folder_too_high_says_so(tmp_path: Path, fill: Fill) -> None:
    fill(tmp_path / "data" / "photos" / "cat", 3, 0)
    fill(tmp_path / "data" / "photos" / "dog", 3, 10)
    refused(
        tmp_path / "data", r"holds 1: photos; if cat, dog are the classes, set prepare\.root to the folder of these"
    )


def test_a_class_without_a_training_image_is_refused(tmp_path: Path, root: Path, fill: Fill) -> None:
    (root / "eel").mkdir()
    refused(root, r"no training image of class 'eel' \(left out: none\); add images or remove the class")
    (root / "eel" / "1.png").write_bytes(b"")
    refused(root, r"no training image of class 'eel' \(left out: 1 zero_bytes, such as eel/1\.png, which is empty")


def test_a_test_split_whose_images_are_all_bad_is_not_cut_anew(root: Path) -> None:
    root.rename(root.parent / "train")
    root.mkdir()
    (root.parent / "train").rename(root / "train")
    (root / "test" / "cat").mkdir(parents=True)
    (root / "test" / "cat" / "1.png").write_bytes(b"")
    refused(root, r"no image is left for the split test \(left out: 1 zero_bytes\); add images")


def test_nothing_left_is_refused(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    refused(root, r"none of the images can be used \(left out: 20 zero_bytes, such as cat/0\.png, which is empty")
    refused(root, r"none of the images can be used", FOLDER.model_copy(update={"min_side": 4000}))


def test_an_older_artifact_survives_a_failed_run(root: Path) -> None:
    _, out = run(root)
    before = artifact_digest(out)
    for path in (root / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no training image of class 'dog'"):
        run(root)
    assert artifact_digest(out) == before


def test_the_parts_that_were_found_are_named_with_their_twins(root: Path) -> None:
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.png"))]
    rows = [f"{name},{name.split('/')[0]}" for name in names]
    (root / "images.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    points = [f"{names[0]},{part},1,1" for part in ("left eye", "right eye", "tail")]
    (root / "parts.csv").write_text("\n".join(["path,part,x,y", *points]) + "\n")
    config = PrepareConfig.parse({"reader": "table", "root": "data", "table": {"parts": "parts.csv"}})
    said: list[Event] = []
    prepare(config, root=root, out=root.parent / "i", parts=root.parent / "p", seed=0, on_event=said.append)
    last = [event.text for event in said if isinstance(event, MessageEvent)][-1]
    assert last == "points of 3 parts in 1 image: left eye, right eye, tail; twins: left eye and right eye"


def said(config: PrepareConfig, root: Path) -> list[str]:
    events: list[Event] = []
    out = root.parent / "said"
    prepare(config, root=root, out=out / "images", parts=out / "parts", seed=0, on_event=events.append)
    return [event.text for event in events if isinstance(event, MessageEvent)]


def test_the_summary_names_classes_and_the_smallest(root: Path) -> None:
    for number in range(3):
        (root / "dog" / f"{number}.png").unlink()
    assert said(FOLDER, root)[-2] == "classes: cat, dog; the smallest in train is 'dog' with 5 images"


def test_one_name_in_two_normal_forms_is_one_class_as_train_spells_it(tmp_path: Path, fill: Fill) -> None:
    composed, split = "m\u00f6we", "mo\u0308we"
    for number, folder in enumerate([f"train/{split}", "train/crow", f"test/{composed}", "test/crow", "train/Crow"]):
        fill(tmp_path / "data" / folder, 10, 100 * number)
    texts = said(FOLDER, tmp_path / "data")
    assert f"class {split!r}: two spellings in Unicode (NFC, NFD) of one name are one class" in texts
    assert any(text.startswith("classes 'Crow', 'crow' differ by capitals or spaces alone") for text in texts)
    images = ImageTable.open(tmp_path / "said" / "images", tmp_path / "data")
    assert images.classes == ("Crow", "crow", split)
    assert set(images.split("test").frame["class_name"]) == {"crow", split}


def test_test_images_that_a_label_conflict_takes_are_counted(tmp_path: Path, fill: Fill) -> None:
    for number, folder in enumerate(["train/cat", "train/dog", "test/cat", "test/dog"]):
        fill(tmp_path / "data" / folder, 6, 100 * number)
    (tmp_path / "data/test/dog/twin.png").write_bytes((tmp_path / "data/test/cat/0.png").read_bytes())
    assert said(FOLDER, tmp_path / "data")[-2] == (
        "2 test images fewer: the same pixels bear two labels (quarantine.parquet)"
    )


def test_a_class_that_train_lacks_is_shown_with_the_nearest_name(tmp_path: Path, fill: Fill) -> None:
    for number, folder in enumerate(["train/robin", "train/crow", "test/robins", "test/crow"]):
        fill(tmp_path / "data" / folder, 6, 100 * number)
    with pytest.raises(DataError, match="no training image of class 'robins'; did you mean 'robin'"):
        said(FOLDER, tmp_path / "data")


def test_no_images_says_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "cat" / "1.heix").touch()
    with pytest.raises(
        DataError, match=r"left out: 1 not_an_image, such as cat/1\.heix, which is not named like an im"
    ):
        said(FOLDER, tmp_path / "data")


def test_an_image_of_another_format_than_its_name_is_used_and_said(root: Path, photo: Photo) -> None:
    photo(3).save(root / "cat" / "3.png", "JPEG")
    assert "1 image (cat/3.png (JPEG)) used as what the bytes are, not as what the name says" in said(FOLDER, root)


def excluding(root: Path, names: list[str]) -> Path:
    rows = [f"{name},{hashlib.sha256((root / name).read_bytes()).hexdigest()},out of focus\n" for name in names]
    file = root.parent / "exclude.csv"
    file.write_text("path,sha256,reason\n" + "".join(rows))
    return file


def test_leaving_an_image_out_by_hand_moves_no_other(root: Path) -> None:
    _, out = run(root)
    before = splits(root, out)
    assert "excluded" not in json.loads((out / "summary.json").read_text())
    gone = [next(name for name, split in before.items() if split == wanted) for wanted in ("test", "train")]
    events: list[Event] = []
    result = prepare(
        FOLDER, root=root, out=out, parts=out.parent / "parts", seed=0, on_event=events.append,
        exclude=excluding(root, gone),
    )  # fmt: skip
    assert splits(root, out) == {name: split for name, split in before.items() if name not in gone}
    assert quarantine(out) == dict.fromkeys(gone, "excluded")
    assert result.excluded == {"train": 1, "validation": 0, "test": 1} == left_out_by_hand(out)
    assert [event.text for event in events if isinstance(event, MessageEvent) and event.level == "warning"] == [
        "images excluded by hand: 1 of test; their numbers are of the images that are left"
    ]


def test_of_two_copies_the_one_that_no_row_names_stays(root: Path) -> None:
    (root / "cat" / "copy.png").write_bytes((root / "cat" / "3.png").read_bytes())
    out = root.parent / "images"
    prepare(
        FOLDER, root=root, out=out, parts=root.parent / "parts", seed=0, on_event=ignore,
        exclude=excluding(root, ["cat/3.png"]),
    )  # fmt: skip
    assert quarantine(out) == {"cat/3.png": "excluded"}
    assert "cat/copy.png" in splits(root, out)
