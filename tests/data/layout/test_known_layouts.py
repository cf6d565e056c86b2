from pathlib import Path

import pytest

from protoquant.core.errors import DataError
from protoquant.data.config import PrepareConfig
from protoquant.data.readers.image_folder import read


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["images.txt", "image_class_labels.txt", "images/001.a/1.jpg"], "is CUB-200-2011 .*; set prepare.reader: cub"),
        (
            ["classes.json", "dataset_train.json", "train/0/000000.png"],
            "is FunnyBirds .*; set prepare.reader: funnybirds",
        ),
        (
            ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_train/1.jpg"],
            "is Stanford Cars-196 .*; set prepare.reader: cars",
        ),
        (
            ["train_list.mat", "test_list.mat", "Images/n02085620-Chihuahua/1.jpg"],
            "is Stanford Dogs-120 .*; set prepare.reader: dogs",
        ),
        (["imagelabels.mat", "setid.mat", "jpg/1.jpg"], "is Oxford Flowers-102 .*; set prepare.reader: flowers"),
        (
            ["train/n01440764/1.JPEG", "val/ILSVRC2012_val_00000001.JPEG"],
            "is ImageNet-1k .*; set prepare.reader: imagenet",
        ),
        (["train/good/1.png", "test/good/1.png", "test/crack/1.png"], "like MVTec AD: .* every defect lies in test"),
        (
            [
                "bottle/train/good/1.png",
                "bottle/test/good/1.png",
                "bottle/test/hole/1.png",
                "bottle/ground_truth/h/1.png",
            ],
            r"like MVTec AD \(bottle\): .*\(prepare\.reader: table\)",
        ),
    ],
)
def test_a_layout_that_is_none_of_class_folders_is_named(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(touch(tmp_path, *names))


def test_a_split_without_defects_is_no_mvtec(tmp_path: Path) -> None:
    names = ["train/good/1.png", "train/bad/1.png", "test/good/1.png", "test/bad/1.png"]
    assert read(touch(tmp_path, *names)).classes == ("bad", "good")


def test_the_key_of_splits_overrides_what_a_folder_looks_like(tmp_path: Path) -> None:
    touch(tmp_path, "train/good/1.png", "test/good/1.png", "test/bad/1.png")
    listing = read(tmp_path, config=PrepareConfig(reader="image_folder", splits={"train": "test"}))
    assert listing.classes == ("bad", "good")
